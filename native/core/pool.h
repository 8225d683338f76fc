/* The control block's witness: a copy of its fixed part in the end node's payload. */
#ifndef HEAPWITNESS_POOL_H
#define HEAPWITNESS_POOL_H

#include "heapwitness/core.h"

enum { HW_WITNESSED = 32 };

void hw_control_copy(hw_pool *pool);

#endif
