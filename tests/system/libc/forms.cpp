// operator new and delete in all their forms, used as they belong together.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
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

struct alignas(64) wide {
    char bytes[192];
    ~wide() {}
};
struct alignas(4096) page {
    char bytes[4096];
};
struct base {
    virtual ~base() {}
    int one = 1;
};
struct derived : base {
    std::string text = "a text that is too long for its own small buffer";
};

static bool aligned(void *at, std::size_t by)
{
    return (reinterpret_cast<std::uintptr_t>(at) & (by - 1)) == 0;
}

static void forms()
{
    using std::align_val_t;
    using std::nothrow;
    for (std::size_t size : {0, 1, 15, 16, 17, 100, 1000, 5000, 600000}) {
        ::operator delete(::operator new(size));
        ::operator delete(::operator new(size), size);
        ::operator delete(::operator new(size, nothrow));
        ::operator delete(::operator new(size), nothrow);
        ::operator delete[](::operator new[](size));
        ::operator delete[](::operator new[](size), size);
        ::operator delete[](::operator new[](size, nothrow));
        ::operator delete[](::operator new[](size), nothrow);
        for (std::size_t by = 1; by <= 65536; by *= 2) {
            align_val_t align{by};
            void *block = ::operator new(size, align);
            CHECK(block && aligned(block, by));
            std::memset(block, 1, size);
            ::operator delete(block, align);
            ::operator delete(::operator new(size, align), size, align);
            ::operator delete(::operator new(size, align, nothrow), align);
            ::operator delete(::operator new(size, align), align, nothrow);
            block = ::operator new[](size, align);
            CHECK(block && aligned(block, by));
            ::operator delete[](block, align);
            ::operator delete[](::operator new[](size, align), size, align);
            ::operator delete[](::operator new[](size, align, nothrow), align);
            ::operator delete[](::operator new[](size, align), align, nothrow);
        }
    }
    ::operator delete(opaque<void *>(nullptr));
    ::operator delete[](opaque<void *>(nullptr));
}

static void objects()
{
    for (int i = 0; i < 100; i++) {
        delete opaque(new int(5));
        delete[] opaque(new int[100]);
        delete[] opaque(new std::string[10]);
        delete[] opaque(new wide[3]);
        delete opaque(new wide);
        delete opaque(new page);
        base *one = new derived;
        delete opaque(one);
        std::vector<std::unique_ptr<base>> many;
        for (int k = 0; k < 100; k++)
            many.push_back(std::make_unique<derived>());
        auto shared = std::make_shared<derived>();
        void *place = std::malloc(sizeof(derived));
        (new (place) derived)->~derived();
        std::free(place);
    }
}

static int handled;
static char *ballast;
static void handler()
{
    handled++;
    if (handled == 3)
        std::set_new_handler(nullptr);
}
static void helping_handler()
{
    handled++;
    delete[] ballast;
    ballast = nullptr;
    std::set_new_handler(nullptr);
}
struct mine {};
static void throwing_handler()
{
    handled++;
    throw mine();
}

static constexpr std::size_t TOO_MUCH = SIZE_MAX / 4;

template <typename F> static bool throws_bad_alloc(F run)
{
    try {
        run();
    } catch (const std::bad_alloc &) {
        return true;
    }
    return false;
}

static void failures()
{
    using std::align_val_t;
    using std::nothrow;
    CHECK(throws_bad_alloc([] { opaque(::operator new(opaque(TOO_MUCH))); }));
    CHECK(throws_bad_alloc([] { opaque(::operator new[](opaque(TOO_MUCH))); }));
    CHECK(throws_bad_alloc([] { opaque(::operator new(opaque(TOO_MUCH), align_val_t{64})); }));
    CHECK(throws_bad_alloc([] { opaque(::operator new[](opaque(TOO_MUCH), align_val_t{64})); }));
    CHECK(throws_bad_alloc([] { std::vector<char> v; v.reserve(opaque(TOO_MUCH)); opaque(v.data()); }));
    CHECK(!(void *)opaque(::operator new(opaque(TOO_MUCH), nothrow)));
    CHECK(!(void *)opaque(::operator new[](opaque(TOO_MUCH), nothrow)));
    CHECK(!(void *)opaque(::operator new(opaque(TOO_MUCH), align_val_t{64}, nothrow)));
    CHECK(!(void *)opaque(::operator new[](opaque(TOO_MUCH), align_val_t{64}, nothrow)));
    std::free(std::malloc(10));
}

static void handlers()
{
    using std::nothrow;
    std::set_new_handler(handler);
    CHECK(throws_bad_alloc([] { opaque(::operator new(opaque(TOO_MUCH))); }) && handled == 3);
    handled = 0;
    std::set_new_handler(handler);
    CHECK(!(void *)opaque(::operator new[](opaque(TOO_MUCH), nothrow)) && handled == 3);
    handled = 0;
    std::set_new_handler(handler);
    CHECK(!(void *)opaque(::operator new(opaque(TOO_MUCH), std::align_val_t{64}, nothrow)) && handled == 3);
    for (int form = 0; form < 5; form++) {
        handled = 0;
        std::set_new_handler(throwing_handler);
        bool caught = false;
        try {
            switch (form) {
            case 0: opaque(::operator new(opaque(TOO_MUCH))); break;
            case 1: opaque(::operator new[](opaque(TOO_MUCH))); break;
            default: opaque(::operator new(opaque(TOO_MUCH), std::align_val_t{64})); break;
            }
        } catch (const mine &) {
            caught = true;
        }
        CHECK(caught && handled == 1);
    }
    /* A handler that frees something lets the allocation succeed. */
    std::set_new_handler(nullptr);
    handled = 0;
    std::size_t size = 64 << 20;
    char *most = nullptr;
    std::vector<char *> taken;
    taken.reserve(10000);
    if (std::getenv("LIMITED")) {
        ballast = new char[size];
        while ((most = new (nothrow) char[size / 4]))
            taken.push_back(most);
        std::set_new_handler(helping_handler);
        char *helped = new char[size / 2];
        CHECK(helped && handled == 1);
        delete[] helped;
        for (char *each : taken)
            delete[] each;
    }
}

int main(int count, char **words)
{
    std::string name = count > 1 ? words[1] : "";
    if (name == "forms")
        forms();
    else if (name == "objects")
        objects();
    else if (name == "failures")
        failures();
    else if (name == "handlers")
        handlers();
    else
        return 2;
    return 0;
}
