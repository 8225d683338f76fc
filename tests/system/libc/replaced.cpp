// Programs that replace some of operator new and delete, as the standard lets them: -DNEW, -DDELETE, -DNEW_ARRAY,
// -DDELETE_ARRAY, -DNOTHROW_NEW, -DALIGNED say which. Replacements use malloc and free, as most do.
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <new>
#include <string>
#include <unistd.h>
#include <vector>

#define CHECK(holds) \
    do { \
        if (!(holds)) { \
            dprintf(2, "%s:%d: broken: %s\n", __FILE__, __LINE__, #holds); \
            _exit(1); \
        } \
    } while (0)

template <typename T> static T opaque(T value)
{
    __asm__ volatile("" : "+r"(value));
    return value;
}

static int news, deletes;

#ifdef NEW
void *operator new(std::size_t bytes)
{
    news++;
    if (void *block = std::malloc(bytes ? bytes : 1))
        return block;
    throw std::bad_alloc();
}
#endif
#ifdef NEW_ARRAY
void *operator new[](std::size_t bytes)
{
    news++;
    if (void *block = std::malloc(bytes ? bytes : 1))
        return block;
    throw std::bad_alloc();
}
#endif
#ifdef NOTHROW_NEW
void *operator new(std::size_t bytes, const std::nothrow_t &) noexcept
{
    news++;
    return std::malloc(bytes ? bytes : 1);
}
#endif
#ifdef DELETE
void operator delete(void *block) noexcept
{
    deletes++;
    std::free(block);
}
#endif
#ifdef DELETE_ARRAY
void operator delete[](void *block) noexcept
{
    deletes++;
    std::free(block);
}
#endif
#ifdef ALIGNED
void *operator new(std::size_t bytes, std::align_val_t align)
{
    news++;
    if (void *block = std::aligned_alloc(std::size_t(align), (bytes + std::size_t(align) - 1) & ~(std::size_t(align) - 1)))
        return block;
    throw std::bad_alloc();
}
#endif

struct alignas(128) wide {
    char bytes[128];
};

int main()
{
    for (int i = 0; i < 50; i++) {
        delete opaque(new int(3));
        delete[] opaque(new int[30]);
        delete opaque(new (std::nothrow) int(4));
        delete[] opaque(new (std::nothrow) int[40]);
        delete opaque(new wide);
        delete[] opaque(new wide[4]);
        std::vector<std::string> texts(20, std::string(100, 'x'));
        auto shared = std::make_shared<std::string>(500, 'y');
        ::operator delete(::operator new(200), std::size_t(200));
    }
#if defined(NEW) || defined(NEW_ARRAY) || defined(ALIGNED) || defined(NOTHROW_NEW)
    CHECK(news >= 50);
#endif
#if defined(NEW)
    CHECK(news >= 50 * 20);
#endif
#if defined(DELETE)
    CHECK(deletes >= 50 * 20);
#endif
    return 0;
}
