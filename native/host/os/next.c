/* Looks functions up behind the engine as dlsym(RTLD_NEXT) does, without what that costs at every program's start, and
   without its thread storage, lock and error text: the objects that follow are searched by their own tables. */
#define _GNU_SOURCE
#include "os/next.h"

#include <link.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/auxv.h>

extern ElfW(Dyn) own_dynamic[] __asm__("_DYNAMIC") __attribute__((visibility("hidden")));

/* Bit of a symbol's version: only who asks for that version gets it. */
#define HIDDEN_VERSION 0x8000

typedef struct object {
    const ElfW(Sym) * symbols;
    const char *names;
    const ElfW(Half) * versions;
    const uint32_t *gnu, *old;
    uintptr_t base;
} object;

static const void *table(const struct link_map *map, const ElfW(Dyn) * entry)
{
    uintptr_t at = entry->d_un.d_ptr; /* the loader has made addresses of them, but not where it may not write */
    return (const void *)(at < map->l_addr ? at + map->l_addr : at);
}

static object read_object(const struct link_map *map)
{
    object o = {.base = map->l_addr};
    for (const ElfW(Dyn) *entry = map->l_ld; entry->d_tag != DT_NULL; entry++) {
        if (entry->d_tag == DT_SYMTAB)
            o.symbols = table(map, entry);
        else if (entry->d_tag == DT_STRTAB)
            o.names = table(map, entry);
        else if (entry->d_tag == DT_VERSYM)
            o.versions = table(map, entry);
        else if (entry->d_tag == DT_GNU_HASH)
            o.gnu = table(map, entry);
        else if (entry->d_tag == DT_HASH)
            o.old = table(map, entry);
    }
    return o;
}

static bool is_it(const object *o, uint32_t number, const char *name)
{
    const ElfW(Sym) *symbol = &o->symbols[number];
    unsigned type = ELF64_ST_TYPE(symbol->st_info); /* the same of 32 bits */
    if (symbol->st_shndx == SHN_UNDEF || !symbol->st_value || ELF64_ST_BIND(symbol->st_info) == STB_LOCAL ||
        (type != STT_FUNC && type != STT_GNU_IFUNC) || (o->versions && (o->versions[number] & HIDDEN_VERSION)))
        return false;
    return strcmp(o->names + symbol->st_name, name) == 0;
}

/* Its number; 0: none. Buckets of the GNU table lead to a run of symbols, whose hashes lie behind the buckets; the last
   one's has bit 0. */
static uint32_t find_in(const object *o, const char *name, uint32_t hash)
{
    enum { BITS = 8 * sizeof(uintptr_t) };
    if (!o->symbols || !o->names)
        return 0;
    if (!o->gnu) {
        for (uint32_t number = 1; o->old && number < o->old[1]; number++)
            if (is_it(o, number, name))
                return number;
        return 0;
    }
    uint32_t count = o->gnu[0], first = o->gnu[1], words = o->gnu[2], shift = o->gnu[3];
    const uintptr_t *bloom = (const uintptr_t *)(o->gnu + 4);
    const uint32_t *buckets = (const uint32_t *)(bloom + words), *hashes = buckets + count;
    uintptr_t word = bloom[hash / BITS % words];
    if (!(word >> hash % BITS & word >> (hash >> shift) % BITS & 1))
        return 0;
    for (uint32_t number = buckets[hash % count]; number >= first; number++) {
        uint32_t other = hashes[number - first];
        if ((other | 1) == (hash | 1) && is_it(o, number, name))
            return number;
        if (other & 1)
            break;
    }
    return 0;
}

static uint32_t hash_of(const char *name)
{
    uint32_t hash = 5381;
    for (; *name; name++)
        hash = 33 * hash + (unsigned char)*name;
    return hash;
}

static void *function_of(const object *o, uint32_t number)
{
    const ElfW(Sym) *symbol = &o->symbols[number];
    uintptr_t at = o->base + symbol->st_value;
    if (ELF64_ST_TYPE(symbol->st_info) == STT_GNU_IFUNC)
        at = ((uintptr_t (*)(unsigned long))at)(getauxval(AT_HWCAP));
    return (void *)at;
}

extern const hw_follower first[] __asm__("__start_hw_nexts") __attribute__((visibility("hidden")));
extern const hw_follower behind[] __asm__("__stop_hw_nexts") __attribute__((visibility("hidden")));

HW_COLD void hw_find_nexts(void)
{
    static bool done; /* a name that is nowhere is not looked for again */
    size_t count = (size_t)(behind - first), left = count;
    if (done)
        return;
    uint32_t hashes[count];
    bool found[count];
    for (size_t i = 0; i < count; i++) {
        hashes[i] = hash_of(first[i].name);
        found[i] = false;
    }
    const struct link_map *map = _r_debug.r_map;
    while (map && map->l_ld != own_dynamic)
        map = map->l_next;
    while (left && map && (map = map->l_next)) {
        object o = read_object(map);
        for (size_t i = 0; i < count; i++) {
            uint32_t number = found[i] ? 0 : find_in(&o, first[i].name, hashes[i]);
            if (!number)
                continue;
            found[i] = true;
            left--;
            __atomic_store_n((void **)first[i].kept, function_of(&o, number), __ATOMIC_RELAXED);
        }
    }
    done = true;
}

__attribute__((constructor(102))) static void find_early(void)
{
    hw_find_nexts();
}
