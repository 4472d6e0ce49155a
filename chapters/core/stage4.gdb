# Reads a core of stage4_broken: gdb -q -batch -x chapters/core/stage4.gdb target/debug/stage4_broken core
set print address off
set print frame-arguments none
set filename-display basename
echo \nthe thread that died\n
bt 13
echo \nthe others: the line that each of them has come to\n
# Below it stand the frames of a thread that is parked at a point.
thread apply 2-5 -q frame level 5
echo \nwhat glibc looked at (with its debugging symbols, Debian's libc6-dbg): the size of the block, and the header after it\n
thread 1
frame function _int_free
p size
p/x size
x/2gx nextchunk
