gcc -O2 -flto -c graph.c -o lto.o
gcc -O2 -flto lto.o -o lto && sha256sum lto
g++ -std=c++17 -O2 -g -c containers.cpp -o plain.o
ar rcs library.a plain.o
nm -C library.a | sort | sha256sum
objdump -dC plain.o | sha256sum
readelf --debug-dump=info plain.o | sha256sum
strip -g plain.o
sha256sum plain.o
