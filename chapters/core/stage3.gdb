# Reads a core of stage3_broken: gdb -q -batch -x chapters/core/stage3.gdb target/debug/stage3_broken core
set print address off
set print frame-arguments none
set filename-display basename
echo \nthe thread that died\n
bt 3
echo \nthe others: the line that each of them has come to\n
# `point` is inlined into the function that calls it, so the frame above the one that gdb finds is the caller's.
define stands
  select-frame function $arg0
  up
end
thread apply 2-5 -q -s stands work
thread apply 2-5 -q -s stands serve
echo \nwhy, and where: 1 is nothing mapped, 2 is mapped without the right\n
p $_siginfo.si_code
p/x $_siginfo._sifields._sigfault.si_addr
echo \nwhat stands there, and what has this address\n
x/2gx $_siginfo._sifields._sigfault.si_addr
info symbol $_siginfo._sifields._sigfault.si_addr
