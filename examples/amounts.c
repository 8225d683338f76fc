/* Digits are written from the field's end to its start, and on when the number has more of them than the field.
   Under glibc: the block's own size is overwritten: double free or corruption (out), and the program is gone. */

#include <stdio.h>
#include <stdlib.h>

enum { FIELD = 8 };

static char *new_field(void)
{
    return malloc(FIELD);
}

static void format_amount(char *field, unsigned long amount)
{
    char *at = field + FIELD;
    do {
        *--at = (char)('0' + amount % 10);
        amount /= 10;
    } while (amount != 0);
    while (at > field)
        *--at = ' ';
}

int main(void)
{
    static const unsigned long amounts[] = {12, 99999999, 4815162342};
    for (size_t i = 0; i < sizeof amounts / sizeof *amounts; i++) {
        char *field = new_field();
        format_amount(field, amounts[i]);
        printf("%.*s\n", FIELD, field);
        free(field);
    }
    return 0;
}
