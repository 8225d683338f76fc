#define _GNU_SOURCE
#include "stacks/python_symbols.h"

#include <dlfcn.h>
#include <link.h>
#include <string.h>

extern const unsigned long Py_Version __attribute__((weak));
extern char _PyRuntime[] __attribute__((weak)), PyCode_Type[] __attribute__((weak)),
    _Py_NoneStruct[] __attribute__((weak));
extern void *PyGILState_GetThisThreadState(void) __attribute__((weak));

/* Where the part of a module that is run lies, some of which `own` does. */
static int find_code(struct dl_phdr_info *module, size_t bytes, void *own)
{
    hw_python_symbols *s = own;
    (void)bytes;
    for (unsigned i = 0; i < module->dlpi_phnum; i++) {
        const ElfW(Phdr) *p = &module->dlpi_phdr[i];
        uintptr_t start = module->dlpi_addr + p->p_vaddr;
        if (p->p_type == PT_LOAD && p->p_flags & PF_X && (uintptr_t)s->state - start < p->p_memsz) {
            s->start = start;
            s->bytes = p->p_memsz;
            return 1;
        }
    }
    return 0;
}

hw_python_symbols hw_python_linked(void)
{
    hw_python_symbols s = {0};
    if (&Py_Version && _PyRuntime && PyCode_Type && _Py_NoneStruct && PyGILState_GetThisThreadState) {
        s = (hw_python_symbols){.version = &Py_Version,
                                .runtime = _PyRuntime,
                                .code_type = PyCode_Type,
                                .none = _Py_NoneStruct,
                                .state = PyGILState_GetThisThreadState};
        dl_iterate_phdr(find_code, &s);
    }
    return s;
}

#ifdef DLFO_STRUCT_HAS_EH_DBASE
/* glibc 2.35 and newer. */
extern int _dl_find_object(void *pc, struct dl_find_object *result) __attribute__((weak));

/* A module's table of names, as the loader uses it: .gnu.hash begins with these words, then comes a filter, then the
   buckets, then a word for each symbol from `first` on, the last of a bucket's with its lowest bit set. */
typedef struct names {
    uintptr_t base;
    const char *text;
    const ElfW(Sym) * symbols;
    const struct {
        uint32_t buckets, first, filter, shift;
    } *hash;
} names;

static names names_of(const struct link_map *module)
{
    names n = {.base = module->l_addr};
    for (const ElfW(Dyn) *d = module->l_ld; d->d_tag != DT_NULL; d++) {
        uintptr_t at =
            d->d_un.d_ptr + (d->d_un.d_ptr < n.base ? n.base : 0); /* the loader made most of them addresses */
        if (d->d_tag == DT_STRTAB)
            n.text = (const char *)at;
        else if (d->d_tag == DT_SYMTAB)
            n.symbols = (const ElfW(Sym) *)at;
        else if (d->d_tag == DT_GNU_HASH)
            n.hash = (const void *)at;
    }
    return n;
}

static void *find(const names *n, const char *name)
{
    uint32_t wanted = 5381;
    for (const unsigned char *c = (const unsigned char *)name; *c; c++)
        wanted = wanted * 33 + *c;
    const uint32_t *buckets =
        (const uint32_t *)(const void *)(n->hash + 1) + n->hash->filter * (sizeof(ElfW(Addr)) / 4);
    const uint32_t *chain = buckets + n->hash->buckets;
    uint32_t at = n->hash->buckets ? buckets[wanted % n->hash->buckets] : 0;
    for (; at >= n->hash->first && at; at++) {
        uint32_t hash = chain[at - n->hash->first];
        const ElfW(Sym) *symbol = &n->symbols[at];
        if ((hash | 1) == (wanted | 1) && symbol->st_shndx != SHN_UNDEF && strcmp(n->text + symbol->st_name, name) == 0)
            return (void *)(n->base + symbol->st_value);
        if (hash & 1)
            break;
    }
    return NULL;
}

hw_python_symbols hw_python_loaded(uintptr_t pc)
{
    hw_python_symbols s = {0};
    struct dl_find_object module;
    if (!&_dl_find_object || _dl_find_object((void *)pc, &module) != 0 ||
        !strstr(module.dlfo_link_map->l_name, "/libpython3."))
        return s;
    names n = names_of(module.dlfo_link_map);
    if (!n.text || !n.symbols || !n.hash)
        return s;
    s.version = find(&n, "Py_Version");
    s.runtime = find(&n, "_PyRuntime");
    s.code_type = find(&n, "PyCode_Type");
    s.none = find(&n, "_Py_NoneStruct");
    *(void **)&s.state = find(&n, "PyGILState_GetThisThreadState");
    s.file = module.dlfo_link_map->l_name;
    s.start = (uintptr_t)module.dlfo_map_start;
    s.bytes = (uintptr_t)module.dlfo_map_end - s.start;
    return s.version && s.runtime && s.code_type && s.none && s.state ? s : (hw_python_symbols){0};
}
#else
hw_python_symbols hw_python_loaded(uintptr_t pc)
{
    (void)pc;
    return (hw_python_symbols){0};
}
#endif
