#define _GNU_SOURCE
#include "tell/stranger.h"

#include "os/system.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* What is read of a file: scripts name their interpreter there, and programs have their segments. */
enum { START = 2048, NAME = 256, SCRIPTS = 4 };

#if defined(__x86_64__)
enum { OUR_MACHINE = EM_X86_64 };
#elif defined(__aarch64__)
enum { OUR_MACHINE = EM_AARCH64 };
#else
enum { OUR_MACHINE = EM_NONE };
#endif

static bool is_named(const char *path, const char *start)
{
    const char *slash = strrchr(path, '/');
    return strncmp(slash ? slash + 1 : path, start, strlen(start)) == 0;
}

static enum hw_stranger look_at_segments(long file, const char *path, const char *bytes, size_t length)
{
    Elf64_Ehdr header;
    if (length < sizeof header)
        return HW_NO_STRANGER;
    memcpy(&header, bytes, sizeof header);
    if (OUR_MACHINE != EM_NONE && (header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_machine != OUR_MACHINE))
        return HW_OTHER_MACHINE;
    if (header.e_ident[EI_CLASS] != ELFCLASS64 || (header.e_type != ET_EXEC && header.e_type != ET_DYN) ||
        header.e_phentsize != sizeof(Elf64_Phdr))
        return HW_NO_STRANGER;
    for (unsigned i = 0; i < header.e_phnum; i++) {
        Elf64_Phdr segment;
        char name[NAME] = {0};
        if (header.e_phoff > length || header.e_phoff + (i + 1) * sizeof segment > length)
            return HW_NO_STRANGER;
        memcpy(&segment, bytes + header.e_phoff + i * sizeof segment, sizeof segment);
        if (segment.p_type != PT_INTERP)
            continue;
        hw_call(SYS_pread64, file, (long)name, sizeof name - 1, (long)segment.p_offset, 0, 0);
        return is_named(name, "ld-musl") ? HW_MUSL : HW_NO_STRANGER;
    }
    /* The dynamic linkers have none themselves, and may be called with a program's name. */
    return is_named(path, "ld-musl") ? HW_MUSL : is_named(path, "ld") ? HW_NO_STRANGER : HW_STATIC;
}

static bool gains_rights(const struct stat *status)
{
    bool user = (status->st_mode & S_ISUID) && status->st_uid != geteuid();
    mode_t both = S_ISGID | S_IXGRP;
    return user || ((status->st_mode & both) == both && status->st_gid != getegid());
}

/* Of "#! /path words": the path, ended by a zero; NULL for something else. */
static const char *interpreter_of(char *bytes, size_t length)
{
    size_t at = 2, end;
    if (length < 3 || bytes[0] != '#' || bytes[1] != '!')
        return NULL;
    while (at < length && (bytes[at] == ' ' || bytes[at] == '\t'))
        at++;
    end = at + strcspn(bytes + at, " \t\n");
    if (end >= length)
        return NULL;
    bytes[end] = 0;
    return bytes + at;
}

enum hw_stranger hw_stranger_look(int directory, const char *path)
{
    char bytes[START + 1];
    for (int turn = 0; turn <= SCRIPTS && path; turn++) {
        struct stat status;
        bool opened = path[0] != 0 || turn > 0;
        long file =
            opened ? hw_call(SYS_openat, directory, (long)path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0, 0, 0)
                   : directory;
        if (file < 0)
            return HW_NO_STRANGER;
        enum hw_stranger found = HW_NO_STRANGER;
        long got = 0;
        if (hw_call(SYS_fstat, file, (long)&status, 0, 0, 0, 0) == 0 && S_ISREG(status.st_mode))
            got = hw_call(SYS_pread64, file, (long)bytes, START, 0, 0, 0);
        bytes[got > 0 ? got : 0] = 0;
        bool program = got > 4 && memcmp(bytes, ELFMAG, SELFMAG) == 0;
        if (program)
            found = gains_rights(&status) ? HW_PRIVILEGED : look_at_segments(file, path, bytes, (size_t)got);
        if (opened)
            hw_call(SYS_close, file, 0, 0, 0, 0, 0);
        if (program || got <= 0)
            return found;
        path = interpreter_of(bytes, (size_t)got);
    }
    return HW_NO_STRANGER;
}

bool hw_stranger_may_be_run(const char *path)
{
    struct stat status;
    return hw_call(SYS_faccessat, AT_FDCWD, (long)path, X_OK, 0, 0, 0) == 0 &&
           hw_call(SYS_newfstatat, AT_FDCWD, (long)path, (long)&status, 0, 0, 0) == 0 && S_ISREG(status.st_mode);
}

static bool is_refusal(long result)
{
    return result == -ENOENT || result == -EACCES || result == -ENOTDIR || result == -ELOOP;
}

/* Asked about by access(), too: who became an ordinary user may have kept capabilities of which the next program
   has none. */
bool hw_stranger_cannot_read(const char *path)
{
    if (is_refusal(hw_call(SYS_faccessat, AT_FDCWD, (long)path, R_OK, 0, 0, 0)))
        return true;
    long file = hw_call(SYS_openat, AT_FDCWD, (long)path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0, 0, 0);
    if (file >= 0)
        hw_call(SYS_close, file, 0, 0, 0, 0, 0);
    return is_refusal(file);
}

bool hw_stranger_search(const char *name, char *path, size_t room)
{
    const char *list = getenv("PATH");
    size_t length = strlen(name);
    for (const char *at = list ? list : "/bin:/usr/bin";; at++) {
        size_t part = strcspn(at, ":");
        if (part + length + 2 <= room) {
            memcpy(path, at, part);
            path[part] = '/';
            memcpy(path + part + (part > 0), name, length + 1);
            if (hw_stranger_may_be_run(path))
                return true;
        }
        at += part;
        if (*at == 0)
            return false;
    }
}
