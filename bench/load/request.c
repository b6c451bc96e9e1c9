#include "request.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char KEY[] = "{key}";
static const char ADDRESS[] = "{address}";

enum { MOST_GAPS = 64, ADDRESS_WIDTH = 14 };

/* Where the prototype is filled in. */
static struct gap {
    size_t at;
    bool is_key;
} gaps[MOST_GAPS];
static int gap_count;

static char *prototype;
static size_t length, capacity;
static long keys, first_key, addresses, turn;
static bool in_turn;
static uint64_t state;

static uint64_t random_number(void) { /* xorshift64*, Marsaglia and Vigna */
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return state * 0x2545F4914F6CDD1Du;
}

/* splitmix64 (Steele, Lea, Flood): seeds that are near each other give states that are not, and never 0. */
static void begin_random_numbers(uint64_t seed) {
    state = (seed + 1) * 0x9E3779B97F4A7C15u;
    state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9u;
    state = (state ^ (state >> 27)) * 0x94D049BB133111EBu;
    state ^= state >> 31;
}

static void add(const char *text, size_t count) {
    if (length + count > capacity) {
        capacity = 2 * (length + count);
        prototype = realloc(prototype, capacity);
        if (prototype == NULL)
            abort();
    }
    memcpy(prototype + length, text, count);
    length += count;
}

static void add_text(const char *text) { add(text, strlen(text)); }

static void add_gap(bool is_key) {
    if (gap_count == MOST_GAPS) {
        fprintf(stderr, "load: a request has more than %d places to fill in\n", MOST_GAPS);
        exit(2);
    }
    gaps[gap_count++] = (struct gap){length, is_key};
    add("................................", is_key ? KEY_WIDTH : ADDRESS_WIDTH);
}

static void add_template(const char *text, size_t count) {
    const char *end = text + count;
    while (text < end) {
        size_t rest = (size_t)(end - text);
        if (rest >= sizeof KEY - 1 && !memcmp(text, KEY, sizeof KEY - 1)) {
            add_gap(true);
            text += sizeof KEY - 1;
        } else if (rest >= sizeof ADDRESS - 1 && !memcmp(text, ADDRESS, sizeof ADDRESS - 1)) {
            add_gap(false);
            text += sizeof ADDRESS - 1;
        } else {
            const char *next = memchr(text + 1, '{', rest - 1);
            size_t plain = next == NULL ? rest : (size_t)(next - text);
            add(text, plain);
            text += plain;
        }
    }
}

void prepare_requests(const struct options *options) {
    keys = options->keys;
    first_key = options->first_key;
    addresses = options->addresses;
    in_turn = options->in_turn;
    begin_random_numbers((uint64_t)options->seed);

    /* The body first: the head has to name its length. */
    if (options->body != NULL)
        add_template(options->body, options->body_length);
    char *body = prototype;
    size_t body_length = length;
    int gaps_of_body = gap_count;
    prototype = NULL;
    length = capacity = 0;

    char line[256];
    add_text(options->method);
    add_text(" ");
    add_text(options->path);
    snprintf(line, sizeof line, " HTTP/1.1\r\nHost: localhost:%d\r\nUser-Agent: ", options->port);
    add_text(line);
    add_text(options->user_agent);
    add_text("\r\nAccept: application/json\r\n");
    if (options->body != NULL) {
        snprintf(line, sizeof line, "Content-Type: application/json\r\nContent-Length: %zu\r\n", body_length);
        add_text(line);
    }
    for (int i = 0; i < options->header_count; i++) {
        add_template(options->headers[i], strlen(options->headers[i]));
        add_text("\r\n");
    }
    add_text("\r\n");
    for (int i = 0; i < gaps_of_body; i++)
        gaps[i].at += length;
    if (body_length)
        add(body, body_length);
    free(body);
}

size_t request_length(void) { return length; }

/* "benchhost" and 23 digits: as long as a real node key. */
static void write_key(char *where, long number) {
    memcpy(where, "benchhost", 9);
    for (int i = KEY_WIDTH - 1; i >= 9; i--, number /= 10)
        where[i] = (char)('0' + number % 10);
}

/* 10.1aa.1bb.1cc: always 14 characters, never a leading zero. */
static void write_address(char *where, long number) {
    memcpy(where, "10.100.100.100", ADDRESS_WIDTH);
    for (int part = 13; part >= 5; part -= 4, number /= 100) {
        where[part] = (char)('0' + number % 10);
        where[part - 1] = (char)('0' + number / 10 % 10);
    }
}

void write_request(char *where) {
    memcpy(where, prototype, length);
    if (!gap_count)
        return;
    long chosen = in_turn ? turn++ % keys : (long)(random_number() % (uint64_t)keys);
    for (int i = 0; i < gap_count; i++) {
        if (gaps[i].is_key)
            write_key(where + gaps[i].at, first_key + chosen);
        else
            write_address(where + gaps[i].at, chosen % addresses);
    }
}
