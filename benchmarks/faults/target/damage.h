/* Damage of every kind, and wrong releases, done to a random block; false where the heap has no place for it. */
#ifndef FAULTS_DAMAGE_H
#define FAULTS_DAMAGE_H

#include "truth.h"

/* Rows below DAMAGES overwrite something, those from there on release something wrongly (main.c names them). */
enum { DAMAGES = 17 };

bool damage(worker *w, truth *t, unsigned row, bool poison, unsigned long number);
bool release_wrongly(worker *w, truth *t, unsigned row, unsigned long number);

#endif
