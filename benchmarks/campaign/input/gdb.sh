# What the program and gdb print meets in one stream in no fixed order.
g++ -g -std=c++17 -pthread containers.cpp -o target
gdb -q -batch -nx -ex 'set print thread-events off' -ex 'set print inferior-events off' -ex 'info functions work' \
    -ex 'info types vector' -ex 'break main' -ex 'run 1 1 >output' -ex 'bt' -ex 'ptype sums' -ex 'continue' \
    target 2>/dev/null | grep -v -E 'process|Thread|0x|thread_db|Inferior' | sha256sum
cat output
