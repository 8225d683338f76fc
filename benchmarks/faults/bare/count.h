/* What is counted of a run of the campaign: labels of the row that it is of. */
#ifndef FAULTS_COUNT_H
#define FAULTS_COUNT_H

/* Returns how often, this time included. The same text is the same label only within a file. */
unsigned long note(const char *label);
/* A run that is not as it should be; its number is shown for some. */
void miss(const char *label);

enum { STEPS = 40, TRIES = 20 };

#endif
