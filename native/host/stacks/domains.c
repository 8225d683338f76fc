#include "stacks/domains.h"

static _Atomic uintptr_t python_low, python_high; /* 0: domains are not known */

void hw_domains_begin(uintptr_t low, uintptr_t high)
{
    atomic_store(&python_high, high);
    atomic_store(&python_low, low);
}

static bool is_pythons(uint64_t pc)
{
    return pc >= atomic_load_explicit(&python_low, memory_order_relaxed) &&
           pc < atomic_load_explicit(&python_high, memory_order_relaxed);
}

bool hw_domain_differs(uint32_t allocated, const hw_caller *caller)
{
    uint64_t here = (uint64_t)(uintptr_t)caller->pc, there;
    unsigned by = hw_domain_of(here), of;
    if (HW_LIKELY(atomic_load_explicit(&python_low, memory_order_relaxed) == 0))
        return false;
    of = hw_site_domain(allocated, &there);
    if (of == by || there == 0)
        return false;
    /* The raw domain's and NumPy's own functions ask malloc themselves. */
    if (of == HW_NO_DOMAIN)
        return (by == HW_OF_MEMORY || by == HW_OF_OBJECTS) && !is_pythons(there);
    return by != HW_NO_DOMAIN || !is_pythons(here);
}
