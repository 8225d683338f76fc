// Linked with -static-libstdc++: its operators new and delete are its own, over malloc and free.
#include <new>
#include <string>
#include <vector>

int main()
{
    std::vector<std::string> texts(100, std::string(200, 'x'));
    for (int i = 0; i < 100; i++)
        delete[] new std::string[20];
    try {
        texts.reserve(texts.max_size());
    } catch (const std::bad_alloc &) {
        return 0;
    }
    return 1;
}
