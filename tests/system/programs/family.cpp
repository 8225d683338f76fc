// Allocates by one family and releases by another (mismatched) or the same (the clean twins); also overflows of
// blocks made by new and new[].
//
// by=malloc|calloc|aligned_alloc|new|new_nothrow|new_aligned|new[]|new[]_nothrow|new[]_aligned
// to=free|realloc|delete|delete_sized|delete_aligned|delete[]|delete[]_sized|delete[]_aligned    size=N   extra=N

#include "case.h"

#include <new>

namespace {

constexpr std::align_val_t alignment{64};

void *allocate(size_t size)
{
    void *block = nullptr;
    if (is("by", "malloc"))
        block = malloc(size); // culprit: malloc
    if (is("by", "calloc"))
        block = calloc(1, size); // culprit: calloc
    if (is("by", "aligned_alloc"))
        block = aligned_alloc(64, size); // culprit: aligned_alloc
    if (is("by", "new"))
        block = ::operator new(size); // culprit: new
    if (is("by", "new_nothrow"))
        block = ::operator new(size, std::nothrow); // culprit: new_nothrow
    if (is("by", "new_aligned"))
        block = ::operator new(size, alignment); // culprit: new_aligned
    if (is("by", "new[]"))
        block = ::operator new[](size); // culprit: new[]
    if (is("by", "new[]_nothrow"))
        block = ::operator new[](size, std::nothrow); // culprit: new[]_nothrow
    if (is("by", "new[]_aligned"))
        block = ::operator new[](size, alignment); // culprit: new[]_aligned
    if (block == nullptr)
        abort();
    return block;
}

void release(void *block, size_t size)
{
    if (is("to", "free"))
        free(block);
    if (is("to", "realloc"))
        return free(realloc(block, size * 2));
    if (is("to", "delete"))
        ::operator delete(block);
    if (is("to", "delete_sized"))
        ::operator delete(block, size);
    if (is("to", "delete_aligned"))
        ::operator delete(block, alignment);
    if (is("to", "delete[]"))
        ::operator delete[](block);
    if (is("to", "delete[]_sized"))
        ::operator delete[](block, size);
    if (is("to", "delete[]_aligned"))
        ::operator delete[](block, alignment);
}

} // namespace

int main(int argc, char **argv)
{
    case_begin(argc, argv);
    size_t size = number("size", 40), extra = number("extra", 0);
    auto *block = static_cast<unsigned char *>(allocate(size));
    fact("culprit", reinterpret_cast<uintptr_t>(block));
    stretch_remember(block + size, extra);
    memset(block, letter_for(block + size, extra), size + extra);
    stretch_tell(block + size, extra, nullptr);
    release(block, size);
    return case_done();
}
