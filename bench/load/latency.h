/* Latencies in a histogram of fixed size: each figure is at most 0.8 % above the truth. */
#ifndef LATENCY_H
#define LATENCY_H

void note_latency(double seconds);

/* Returns the latency that this share of all (0 to 1) did not exceed, in milliseconds. */
double latency_ms(double share);

double greatest_latency_ms(void);

#endif
