# Compiles a large C and a template-heavy C++ file and links them by the linker named in $1.
i=0
while [ $i -lt 3000 ]; do
    echo "int f$i(int *a, int n) { int s = $i; for (int k = 0; k < n; k++)"
    echo "    s = a[k] % $((i % 7 + 2)) ? s + a[k] * $((i % 13)) : s ^ k; return s; }"
    i=$((i + 1))
done >large.c
echo 'int main(void) { int a[3] = {1, 2, 3}; return f7(a, 3) & 1; }' >>large.c
gcc -O2 -g -fuse-ld="$1" large.c -o large
sha256sum large
./large || echo "status $?"
g++ -std=c++17 -O2 -g -pthread -fuse-ld="$1" containers.cpp -o containers
sha256sum containers
./containers 2 3
