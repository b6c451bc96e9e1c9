#include "latency.h"

#include <stdint.h>

/* Buckets of one nanosecond up to 128, then 128 to each doubling: a bucket is never wider than 1/128 of its value. */
enum { FINE = 7, PER_DOUBLING = 1 << FINE, DOUBLINGS = 64 - FINE };

static uint64_t buckets[(DOUBLINGS + 1) * PER_DOUBLING];
static uint64_t count;
static double greatest;

static unsigned bucket_of(uint64_t nanoseconds) {
    if (nanoseconds < PER_DOUBLING)
        return (unsigned)nanoseconds;
    unsigned shift = 63u - (unsigned)__builtin_clzll(nanoseconds) - FINE;
    return (shift << FINE) + (unsigned)(nanoseconds >> shift);
}

static double upper_end(unsigned bucket) {
    if (bucket < 2 * PER_DOUBLING)
        return bucket + 1.0;
    unsigned shift = (bucket >> FINE) - 1;
    return (double)((uint64_t)((bucket & (PER_DOUBLING - 1)) + PER_DOUBLING + 1) << shift);
}

void note_latency(double seconds) {
    if (seconds < 0)
        seconds = 0;
    buckets[bucket_of((uint64_t)(seconds * 1e9))]++;
    count++;
    if (seconds > greatest)
        greatest = seconds;
}

double latency_ms(double share) {
    uint64_t wanted = (uint64_t)((double)count * share), seen = 0;
    for (unsigned bucket = 0; bucket < sizeof buckets / sizeof *buckets; bucket++) {
        seen += buckets[bucket];
        if (seen > wanted || (seen == count && count)) {
            double found = upper_end(bucket) * 1e-6;
            return found < greatest * 1e3 ? found : greatest * 1e3;
        }
    }
    return 0;
}

double greatest_latency_ms(void) { return greatest * 1e3; }
