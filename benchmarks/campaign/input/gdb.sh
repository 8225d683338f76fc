g++ -g -std=c++17 -pthread containers.cpp -o target
gdb -q -batch -nx -ex 'info functions work' -ex 'info types vector' -ex 'break main' -ex 'run 1 1' -ex 'bt' \
    -ex 'ptype sums' -ex 'continue' --args target 2>/dev/null |
    grep -v -E 'process|Thread|0x|thread_db' | sha256sum
