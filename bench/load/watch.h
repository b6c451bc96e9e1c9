/* What the server's processes have used, by the operating system's account: their processor clocks, which tell
   nanoseconds where /proc/PID/stat has hundredths of a second, and /proc/PID/statm (proc(5)). */
#ifndef WATCH_H
#define WATCH_H

struct usage {
    double cpu_seconds; /* user and system, of all threads */
    double rss_bytes;
};

/* Reads one process; ends the program when it is gone: the figures would be nonsense. */
struct usage usage_of(int pid);

#endif
