/* Blocks of a pool as Python objects: `Pool.alloc` of src/heapwitness/pool.py, where a call by ctypes would take
   several times as long as what it calls.

   What is used of Python is its stable interface, declared here: its headers are not there where heapwitness is built.
   An object begins as it does in every Python that has a GIL. Everything here runs while its caller has that lock. */
#include "heapwitness/core.h"

#include <stdbool.h>

typedef intptr_t count;
typedef struct object {
    count references;
    void *type;
} object;
typedef struct view {
    void *start;
    object *owner;
    count bytes, item;
    int is_read_only, dimensions;
    char *format;
    count *shape, *strides, *suboffsets;
    void *internal;
} view;
typedef struct method {
    const char *name;
    void *function;
    int flags;
    const char *text;
} method;
typedef struct attribute {
    const char *name;
    void *get, *set;
    const char *text;
    void *closure;
} attribute;
typedef struct slot {
    int which;
    void *what;
} slot;
typedef struct spec {
    const char *name;
    int bytes, item;
    unsigned flags;
    slot *slots;
} spec;

enum { GET_BUFFER = 1, LENGTH = 45, DEALLOC = 52, METHODS = 64, ATTRIBUTES = 73, FREE = 74 };
/* Objects of such a type are made by nobody else, and it stays as it is. */
enum { MADE_HERE = 1 << 7 | 1 << 8 };
enum { FAST = 0x80, KEYWORDS = 0x02, NONE = 0x04 };

extern object *PyType_FromSpec(spec *), *PyType_GenericAlloc(void *, count), *PyLong_FromSize_t(size_t);
extern object *PyObject_CallFunction(object *, const char *, ...), *PyTuple_GetItem(object *, count);
extern object *Py_BuildValue(const char *, ...);
extern size_t PyLong_AsSize_t(object *);
extern void *PyType_GetSlot(void *, int), *PyErr_Occurred(void);
extern int PyBuffer_FillInfo(view *, object *, void *, count, int, int);
extern int PyUnicode_CompareWithASCIIString(object *, const char *);
extern count PyTuple_Size(object *);
extern void Py_IncRef(object *), Py_DecRef(object *), PyErr_WriteUnraisable(object *),
    PyErr_Fetch(void *, void *, void *), PyErr_Restore(void *, void *, void *), PyErr_SetString(object *, const char *);
extern object *PyExc_TypeError, *PyExc_ValueError;

/* A pool whose buffer `owner` keeps; `failed` raises what becomes of an operation. */
typedef struct heap {
    object head;
    hw_pool *pool;
    object *owner, *failed;
    unsigned granule;
} heap;
/* `node` 0: it was released. */
typedef struct block {
    object head;
    heap *heap;
    char *start;
    size_t bytes;
    uint32_t node;
} block;

static object *heap_type, *block_type;

static object *nothing(void)
{
    return Py_BuildValue("");
}

static void die(object *self)
{
    object *type = self->type;
    void (*give)(void *) = (void (*)(void *))PyType_GetSlot(type, FREE);
    give(self);
    Py_DecRef(type);
}

/* Raise it; NULL always. `status` as core.h has it, 1 for no room. */
static object *fail(const heap *h, int status, uint32_t node, const hw_fault *fault)
{
    object *result =
        PyObject_CallFunction(h->failed, "iIIIII", status, node, fault->reason, fault->node, fault->low, fault->high);
    if (result)
        Py_DecRef(result);
    return NULL;
}

/* --- a block ------------------------------------------------------------------------------------ */

static bool release(block *b)
{
    hw_fault fault = {0};
    uint32_t node = b->node;
    if (!node)
        return true;
    int status = hw_release(b->heap->pool, node, 0, &fault);
    if (status == HW_OK)
        b->node = 0;
    else
        fail(b->heap, status, node, &fault);
    return status == HW_OK;
}

static object *block_release(block *self, object *none)
{
    (void)none;
    return release(self) ? nothing() : NULL;
}

static object *block_enter(object *self, object *none)
{
    (void)none;
    Py_IncRef(self);
    return self;
}

static object *block_exit(block *self, object *const *arguments, count given)
{
    (void)arguments;
    (void)given;
    return block_release(self, NULL);
}

static int block_view(block *self, view *to, int flags)
{
    if (!self->node) {
        PyErr_SetString(PyExc_ValueError, "the block was released");
        return -1;
    }
    return PyBuffer_FillInfo(to, &self->head, self->start, (count)self->bytes, 0, flags);
}

static count block_length(const block *self)
{
    return (count)self->bytes;
}

/* What nobody has any more goes back; what is wrong then has nobody to be raised to. */
static void block_die(block *self)
{
    void *type, *value, *trace;
    PyErr_Fetch(&type, &value, &trace);
    if (!release(self))
        PyErr_WriteUnraisable(block_type);
    PyErr_Restore(type, value, trace);
    Py_DecRef(&self->heap->head);
    die(&self->head);
}

static object *block_address(const block *self, void *closure)
{
    (void)closure;
    return PyLong_FromSize_t((size_t)self->start);
}

static object *block_node(const block *self, void *closure)
{
    (void)closure;
    return PyLong_FromSize_t(self->node);
}

/* --- allocating ---------------------------------------------------------------------------------- */

static bool read_arguments(object *const *arguments, count given, object *names, size_t *bytes, size_t *align)
{
    count named = names ? PyTuple_Size(names) : 0;
    *align = 1;
    if (given < 1 || given + named > 2 ||
        (named && PyUnicode_CompareWithASCIIString(PyTuple_GetItem(names, 0), "align") != 0)) {
        PyErr_SetString(PyExc_TypeError, "alloc takes a size in bytes, and align");
        return false;
    }
    *bytes = PyLong_AsSize_t(arguments[0]);
    if (*bytes == (size_t)-1 && PyErr_Occurred())
        return false;
    if (given + named == 2)
        *align = PyLong_AsSize_t(arguments[1]);
    if (*align == 0 || (*align & (*align - 1))) {
        if (!PyErr_Occurred())
            PyErr_SetString(PyExc_ValueError, "align is a power of two");
        return false;
    }
    return true;
}

static object *heap_alloc(heap *self, object *const *arguments, count given, object *names)
{
    size_t bytes, align;
    hw_fault fault = {0};
    if (!read_arguments(arguments, given, names, &bytes, &align))
        return NULL;
    uint32_t node = hw_allocate(self->pool, bytes, align, HW_MALLOC, 0, &fault);
    if (!node)
        return fail(self, fault.reason ? HW_DAMAGED : HW_NOMEM, 0, &fault);
    block *b = (block *)(void *)PyType_GenericAlloc(block_type, 0);
    if (!b) {
        hw_release(self->pool, node, 0, &fault);
        return NULL;
    }
    b->heap = self;
    Py_IncRef(&self->head);
    b->start = (char *)self->pool + ((size_t)node << self->granule) + HW_OVERHEAD;
    b->bytes = bytes;
    b->node = node;
    return &b->head;
}

static void heap_die(heap *self)
{
    if (self->owner)
        Py_DecRef(self->owner);
    if (self->failed)
        Py_DecRef(self->failed);
    die(&self->head);
}

/* --- the types ------------------------------------------------------------------------------------ */

static method block_methods[] = {{"release", block_release, NONE, "Give the block back; nothing when that was done."},
                                 {"__enter__", block_enter, NONE, 0},
                                 {"__exit__", block_exit, FAST, 0},
                                 {0}};
static attribute block_attributes[] = {{"address", block_address, 0, "Where the block lies in this process.", 0},
                                       {"node", block_node, 0, "Its node; 0 when it was released.", 0},
                                       {0}};
static slot block_slots[] = {{DEALLOC, block_die},     {GET_BUFFER, block_view},       {LENGTH, block_length},
                             {METHODS, block_methods}, {ATTRIBUTES, block_attributes}, {0}};
static method heap_methods[] = {{"alloc", heap_alloc, FAST | KEYWORDS, 0}, {0}};
static slot heap_slots[] = {{DEALLOC, heap_die}, {METHODS, heap_methods}, {0}};

/* What gives blocks of a pool: it keeps `owner`, and calls `failed` with a status, a node and the words of a fault.
   NULL: there is an exception. */
__attribute__((visibility("default"))) object *heapwitness_blocks(void *pool, unsigned granule, object *owner,
                                                                  object *failed)
{
    spec of_block = {"heapwitness.PoolBlock", sizeof(block), 0, MADE_HERE, block_slots};
    spec of_heap = {"heapwitness.PoolBlocks", sizeof(heap), 0, MADE_HERE, heap_slots};
    if (!block_type && !(block_type = PyType_FromSpec(&of_block)))
        return NULL;
    if (!heap_type && !(heap_type = PyType_FromSpec(&of_heap)))
        return NULL;
    heap *h = (heap *)(void *)PyType_GenericAlloc(heap_type, 0);
    if (!h)
        return NULL;
    h->pool = pool;
    h->granule = granule;
    Py_IncRef(owner);
    Py_IncRef(failed);
    h->owner = owner;
    h->failed = failed;
    return &h->head;
}
