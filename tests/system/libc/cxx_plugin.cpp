// A C++ library that a C program loads for itself alone: it runs out of memory, and copes.
#include <new>
#include <string>
#include <vector>

template <typename T> static T *opaque(T *value)
{
    __asm__ volatile("" : "+r"(value));
    return value;
}

extern "C" int copes_with_too_much(std::size_t bytes)
{
    int coped = 0;
    try {
        std::vector<char> much;
        much.reserve(bytes);
        opaque(much.data());
    } catch (const std::bad_alloc &) {
        coped++;
    }
    try {
        delete[] opaque(new char[bytes]);
    } catch (const std::bad_alloc &) {
        coped++;
    }
    coped += !opaque(new (std::nothrow) char[bytes]);
    return coped;
}

extern "C" std::string *make_text()
{
    return new std::string("a text that is too long for its own small buffer");
}
extern "C" void release_text(std::string *text)
{
    delete text;
}
