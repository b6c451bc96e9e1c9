#include "watch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct usage usage_of(int pid) {
    char path[64], text[1024];
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    FILE *file = fopen(path, "r");
    size_t length = file == NULL ? 0 : fread(text, 1, sizeof text - 1, file);
    if (file != NULL)
        fclose(file);
    text[length] = '\0';
    /* The program's name, in parentheses, may hold anything; after its end come numbers (proc(5)). */
    char *numbers = strrchr(text, ')');
    unsigned long user, system;
    long pages;
    if (numbers == NULL || sscanf(numbers + 1,
                                  " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu"
                                  " %*d %*d %*d %*d %*d %*d %*u %*u %ld",
                                  &user, &system, &pages) != 3) {
        fprintf(stderr, "load: process %d is not there any more\n", pid);
        exit(3);
    }
    double ticks = (double)sysconf(_SC_CLK_TCK);
    return (struct usage){(double)(user + system) / ticks, (double)pages * (double)sysconf(_SC_PAGESIZE)};
}
