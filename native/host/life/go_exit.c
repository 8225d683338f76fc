#define _GNU_SOURCE
#include "life/go_exit.h"

#if defined(__x86_64__)

#include "life/lifecycle.h"
#include "os/system.h"

#include <elf.h>
#include <link.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>

/* --- the program's end --------------------------------------------------------------------------- */

/* Called by the code below, by its name. */
__attribute__((used, noreturn)) void hw_go_exits(int status, void *pc, void **frame)
{
    hw_process_ends((hw_caller){pc, frame});
    for (;;)
        hw_call_anyway(SYS_exit_group, status, 0, 0, 0, 0, 0);
}

/* Comes instead of the system call, with the status in edi and the caller's address on top of the stack, which may have
   little room left: another one of 256 KiB, of which the uppermost words stay 0, so that unwinding ends there. Without
   memory for it the process just ends. */
__attribute__((naked, used)) static void exit_is_called(void)
{
    __asm__("movl %edi, %ebx\n\t"
            "movq (%rsp), %r12\n\t"
            "movq %rsp, %r13\n\t"
            "movl $9, %eax\n\t" /* mmap, readable and writable, private, anonymous, without reserve */
            "xorl %edi, %edi\n\t"
            "movl $0x40000, %esi\n\t"
            "movl $3, %edx\n\t"
            "movl $0x4022, %r10d\n\t"
            "movq $-1, %r8\n\t"
            "xorl %r9d, %r9d\n\t"
            "syscall\n\t"
            "cmpq $-4096, %rax\n\t"
            "ja 1f\n\t"
            "leaq 0x3ffc0(%rax), %rsp\n\t"
            "xorl %ebp, %ebp\n\t"
            "movl %ebx, %edi\n\t"
            "movq %r12, %rsi\n\t"
            "movq %r13, %rdx\n\t"
            "call hw_go_exits\n"
            "1:\tmovl %ebx, %edi\n\t"
            "movl $231, %eax\n\t"
            "syscall\n\t"
            "hlt");
}

/* --- finding where it is ------------------------------------------------------------------------- */

/* runtime.exit, as all versions of Go have it: mov 8(%rsp),%edi; mov $231,%eax; syscall; ret; and what fills the gap to
   the next function. The system call makes room for a jump: movabs $...,%rax; jmp *%rax. */
static const unsigned char go_exit[16] = {0x8b, 0x7c, 0x24, 0x08, 0xb8, 0xe7, 0x00, 0x00,
                                          0x00, 0x0f, 0x05, 0xc3, 0xcc, 0xcc, 0xcc, 0xcc};
enum { KEPT = 4, NOTE_BUILD_ID = 4 };

/* Every program with cgo exports it, also one that was linked without a note. */
extern void crosscall2(void) __attribute__((weak));

typedef struct program {
    unsigned char *place; /* of the function; NULL: there is none */
    unsigned places;
    int protection;
} program;

static bool notes_name_go(const unsigned char *at, size_t bytes, size_t align)
{
    ElfW(Nhdr) note;
    while (bytes >= sizeof note) {
        memcpy(&note, at, sizeof note);
        size_t name = hw_round_up(note.n_namesz, 4), all = hw_round_up(sizeof note + name + note.n_descsz, align);
        if (name + note.n_descsz > bytes - sizeof note)
            return false;
        if (note.n_type == NOTE_BUILD_ID && note.n_namesz == sizeof "Go\0" && !memcmp(at + sizeof note, "Go\0", 4))
            return true;
        if (all >= bytes)
            return false;
        at += all;
        bytes -= all;
    }
    return false;
}

static bool is_go(const struct dl_phdr_info *object)
{
    uintptr_t exported = (uintptr_t)&crosscall2;
    for (unsigned i = 0; i < object->dlpi_phnum; i++) {
        const ElfW(Phdr) *part = &object->dlpi_phdr[i];
        const unsigned char *start = (const unsigned char *)object->dlpi_addr + part->p_vaddr;
        if (part->p_type == PT_LOAD && exported && exported - (uintptr_t)start < part->p_memsz)
            return true;
        if (part->p_type == PT_NOTE && notes_name_go(start, part->p_filesz, part->p_align == 8 ? 8 : 4))
            return true;
    }
    return false;
}

static void search(program *p, uintptr_t start, size_t bytes, int protection)
{
    uintptr_t end = start + bytes;
    for (uintptr_t at = hw_round_up(start, sizeof go_exit); at + sizeof go_exit <= end; at += sizeof go_exit) {
        if (memcmp((const void *)at, go_exit, sizeof go_exit) != 0)
            continue;
        p->place = (unsigned char *)at;
        p->places++;
        p->protection = protection;
    }
}

/* Of the first object only, which is the main program. */
static int look_into(struct dl_phdr_info *object, size_t bytes, void *found)
{
    (void)bytes;
    for (unsigned i = 0; is_go(object) && i < object->dlpi_phnum; i++) {
        const ElfW(Phdr) *part = &object->dlpi_phdr[i];
        if (part->p_type == PT_LOAD && (part->p_flags & (PF_R | PF_X)) == (PF_R | PF_X))
            search(found, object->dlpi_addr + part->p_vaddr, part->p_filesz,
                   PROT_READ | PROT_EXEC | (part->p_flags & PF_W ? PROT_WRITE : 0));
    }
    return 1;
}

/* The function does not cross pages, being aligned. Where code must not be changed, already the first call is refused;
   the page can be executed all the time, as getting that back might be refused. */
static void divert(const program *p)
{
    void (*to)(void) = exit_is_called;
    unsigned char jump[sizeof go_exit - KEPT] = {0x48, 0xb8, [10] = 0xff, 0xe0};
    long page = (long)((uintptr_t)p->place & ~(uintptr_t)(hw_page() - 1));
    memcpy(jump + 2, &to, sizeof to);
    if (hw_call(SYS_mprotect, page, (long)hw_page(), PROT_READ | PROT_WRITE | PROT_EXEC, 0, 0, 0) != 0)
        return;
    memcpy(p->place + KEPT, jump, sizeof jump);
    hw_call(SYS_mprotect, page, (long)hw_page(), p->protection, 0, 0, 0);
}

void hw_go_exit_watch(void)
{
    program p = {0};
    dl_iterate_phdr(look_into, &p);
    if (p.places == 1)
        divert(&p);
}

#else

void hw_go_exit_watch(void)
{
}

#endif
