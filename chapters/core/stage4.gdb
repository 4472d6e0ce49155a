# Reads a core of stage4_broken: gdb -q -batch -x chapters/core/stage4.gdb target/debug/stage4_broken core
set print address off
set print frame-arguments none
set filename-display basename
echo \nthe thread that died\n
bt 13
echo \nthe others: the line that each of them has come to\n
# `point` is inlined into the function that calls it, so the frame above the one that gdb finds is the caller's.
define stands
  select-frame function $arg0
  up
end
thread apply 2-5 -q -s stands work
thread apply 2-5 -q -s stands serve
echo \nwhat glibc looked at (with its debugging symbols, Debian's libc6-dbg): the size of the block, and the header after it\n
thread 1
frame function _int_free
p size
p/x size
x/2gx nextchunk
