/* load: asks a server on this machine, judges every answer, prints what it took as one JSON object.

   Closed loop: each connection asks again when it is answered; shows what the server can do, and flatters latencies.
   Open loop: requests fall due at a steady rate whether or not the server keeps up. A latency counts from the moment
   when the request was due, also when no connection was free then: nothing is left out because the server was slow.

   It ends by itself: after warm-up, window and at most DRAIN_SECONDS for what is still on its way. */
#define _GNU_SOURCE /* clock_gettime */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include "connection.h"
#include "latency.h"
#include "options.h"
#include "request.h"
#include "watch.h"

enum { OPENING_AT_ONCE = 64, EVENTS_AT_ONCE = 512, MOST_FAILURES = 1000, MOST_LEFT = 10000, SAMPLE = 200 };
static const double OPENING_SECONDS = 60, DRAIN_SECONDS = 5, LEAVING_SECONDS = 1, LONGEST_WAIT = 0.01;

static struct options options;
static int queue;                                 /* epoll */
static double began, window_begin, window_end;    /* seconds, monotonic clock */
static double measured_from, measured_to;         /* the same window, as the clock was really looked at */
static bool measuring, over;
static double next_due;                           /* open loop */
static bool stopped;                              /* nothing is started any more */

static struct connection **ready;                 /* ring of connections without a request, the longest idle first */
static int ready_first, ready_count;
static struct connection *buried;                 /* freed after the events that may still name them */
static struct connection *opening_failed;

static long started, outstanding, left, opened;
static unsigned long good, good_in_window, bad_head, bad_status, bad_body, broken, unanswered, ended_by_server;
static unsigned long handshakes_before, handshakes_in_window;
static char sample[SAMPLE + 1];                   /* of the first bad answer */
static struct usage at_start[MOST_WATCHED], before[MOST_WATCHED], after[MOST_WATCHED];

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

static unsigned long failures(void) { return bad_head + bad_status + bad_body + broken; }

static void look(struct usage *usages) {
    for (int i = 0; i < options.watched_count; i++)
        usages[i] = usage_of(options.watched[i]);
}

static void put_ready(struct connection *one) {
    ready[(ready_first + ready_count++) % options.connections] = one;
}

static struct connection *take_ready(void) {
    struct connection *one = ready[ready_first];
    ready_first = (ready_first + 1) % options.connections;
    ready_count--;
    return one;
}

static bool may_start(double due) { return !stopped && due < window_end && started < options.requests; }

static bool is_due(double time) { return options.rate > 0 && next_due <= time && may_start(next_due); }

/* Sends a request over a connection without one. Returns it when there is something to do at once. */
static struct connection *ask(struct connection *one, double due) {
    started++;
    outstanding++;
    give_request(one, due);
    if (one->state != CLOSED)
        return one;
    if (open_connection(one))
        return NULL; /* epoll tells when it is connected */
    one->has_request = false;
    outstanding--;
    broken++;
    put_ready(one);
    return NULL;
}

static struct connection *go_on(struct connection *one) {
    double time = now();
    if (options.rate <= 0 && may_start(time))
        return ask(one, time);
    if (is_due(time)) {
        double due = next_due;
        next_due += 1 / options.rate;
        return ask(one, due);
    }
    put_ready(one);
    return NULL;
}

static void keep_sample(const struct connection *one) {
    if (sample[0] == '\0')
        for (size_t i = 0; i < one->received && i < SAMPLE; i++) {
            char c = one->answer[i];
            sample[i] = c < ' ' || c == '"' || c == '\\' || c > '~' ? (c == '"' ? '\'' : ' ') : c;
        }
}

static void tally(const struct connection *one, enum verdict verdict) {
    double time = now();
    if (one->due >= window_begin && one->due < window_end)
        note_latency(time - one->due);
    switch (verdict) {
    case GOOD:
        good++;
        if (measuring && !over)
            good_in_window++;
        return;
    case BAD_HEAD: bad_head++; break;
    case BAD_STATUS: bad_status++; break;
    default: bad_body++; break;
    }
    keep_sample(one);
}

static void drive(struct connection *one);

/* As stock osqueryd: the old connection is forgotten, not closed, and the next request takes a new one. */
static struct connection *leave(struct connection *one) {
    one->state = LEFT;
    left++;
    drive(one); /* its end may have come with the answer */
    if (left >= MOST_LEFT)
        stopped = true;
    return new_connection();
}

static struct connection *react(struct connection *one, enum event event, enum verdict verdict, int closes,
                                enum state was, bool had_request) {
    switch (event) {
    case OPENED:
        opened++;
        put_ready(one);
        return NULL;
    case ANSWERED:
        outstanding--;
        tally(one, verdict);
        if (options.leave_open)
            return go_on(leave(one));
        if (options.new_connection || closes)
            close_connection(one);
        return go_on(one);
    case BROKEN:
        if (!had_request) {
            opening_failed = one;
            return NULL;
        }
        outstanding--;
        broken++;
        return go_on(one);
    case ENDED:
        if (was == LEFT) {
            left--;
            one->next = buried;
            buried = one;
        } else {
            ended_by_server++; /* it stays in the ring, and is opened again when its turn comes */
        }
        return NULL;
    default:
        return NULL;
    }
}

static void drive(struct connection *one) {
    while (one != NULL) {
        enum verdict verdict = INCOMPLETE;
        int closes = 0;
        enum state was = one->state;
        bool had_request = one->has_request;
        enum event event = advance(one, options.expect, &verdict, &closes);
        one = react(one, event, verdict, closes, was, had_request);
        if (failures() > MOST_FAILURES)
            stopped = true;
    }
}

static void wait_for_events(double seconds) {
    static struct epoll_event events[EVENTS_AT_ONCE];
    /* Below a millisecond it does not sleep but looks again: it has a core of its own. */
    int count = epoll_wait(queue, events, EVENTS_AT_ONCE, seconds <= 0 ? 0 : (int)(seconds * 1000));
    for (int i = 0; i < count; i++)
        drive(events[i].data.ptr);
    while (buried != NULL) {
        struct connection *one = buried;
        buried = one->next;
        free_connection(one);
    }
}

static void make_connections(void) {
    ready = calloc((size_t)options.connections, sizeof *ready);
    if (ready == NULL)
        abort();
    if (options.new_connection) {
        for (int i = 0; i < options.connections; i++)
            put_ready(new_connection());
        return;
    }
    /* Kept connections are opened before the clock starts: their handshakes are not what is measured. */
    double give_up = now() + OPENING_SECONDS;
    for (long begun = 0; opened < options.connections;) {
        while (begun < options.connections && begun - opened < OPENING_AT_ONCE) {
            struct connection *one = new_connection();
            if (!open_connection(one))
                opening_failed = one;
            begun++;
        }
        wait_for_events(LONGEST_WAIT);
        if (opening_failed != NULL || now() > give_up) {
            fprintf(stderr, "load: only %ld of %d connections to port %d could be opened\n", opened,
                    options.connections, options.port);
            exit(3);
        }
    }
}

/* What is counted per request is counted between these two, not between the moments that were planned. */
static void begin_measuring(double time) {
    measuring = true;
    measured_from = time;
    handshakes_before = handshakes;
    look(before);
}

static void end_measuring(double time) {
    over = true;
    measured_to = time;
    look(after);
    handshakes_in_window = handshakes - handshakes_before;
}

static double until(double moment) {
    double seconds = moment - now();
    return seconds > LONGEST_WAIT ? LONGEST_WAIT : seconds;
}

static void run(void) {
    began = now();
    window_begin = began + options.warm_up;
    window_end = window_begin + options.seconds;
    next_due = began;
    if (options.rate <= 0)
        for (int i = 0; i < options.connections; i++)
            drive(go_on(take_ready()));
    for (;;) {
        double time = now();
        if (!measuring && time >= window_begin)
            begin_measuring(time);
        bool finished = outstanding == 0 && (stopped || started >= options.requests);
        if (measuring && !over && (time >= window_end || finished))
            end_measuring(time);
        if (over && ((outstanding == 0 && !is_due(time)) || time > measured_to + DRAIN_SECONDS))
            return;
        while (ready_count && is_due(time)) {
            double due = next_due;
            next_due += 1 / options.rate;
            drive(ask(take_ready(), due));
        }
        double next = !measuring ? window_begin : !over ? window_end : time + LONGEST_WAIT;
        if (options.rate > 0 && ready_count && may_start(next_due) && next_due < next)
            next = next_due;
        wait_for_events(until(next));
    }
}

static void count_unanswered(void) {
    unanswered = (unsigned long)outstanding;
    for (; options.rate > 0 && may_start(next_due); next_due += 1 / options.rate, started++)
        unanswered++;
}

static void report(double ended) {
    double seconds = measured_to - measured_from;
    printf("{\"ok\": %lu, \"bad\": %lu, \"bad_head\": %lu, \"bad_status\": %lu, \"bad_body\": %lu, \"broken\": %lu, "
           "\"unanswered\": %lu, \"first_bad\": \"%s\", ",
           good, failures() + unanswered, bad_head, bad_status, bad_body, broken, unanswered, sample);
    printf("\"ok_in_window\": %lu, \"seconds\": %.6f, \"rps\": %.1f, \"p50_ms\": %.3f, \"p90_ms\": %.3f, "
           "\"p99_ms\": %.3f, \"p999_ms\": %.3f, \"max_ms\": %.3f, ",
           good_in_window, seconds, (double)good_in_window / seconds, latency_ms(0.5), latency_ms(0.9),
           latency_ms(0.99), latency_ms(0.999), greatest_latency_ms());
    printf("\"handshakes\": %lu, \"handshakes_in_window\": %lu, \"left_open\": %ld, \"ended_by_server\": %lu, "
           "\"began_at\": %.6f, \"ended_at\": %.6f, \"watched\": [",
           handshakes, handshakes_in_window, left, ended_by_server, began, ended);
    for (int i = 0; i < options.watched_count; i++)
        printf("%s{\"pid\": %d, \"cpu_seconds\": %.3f, \"rss_at_start\": %.0f, \"rss_before\": %.0f, "
               "\"rss_after\": %.0f}",
               i ? ", " : "", options.watched[i], after[i].cpu_seconds - before[i].cpu_seconds,
               at_start[i].rss_bytes, before[i].rss_bytes, after[i].rss_bytes);
    puts("]}");
}

int main(int count, char **words) {
    options = read_options(count, words);
    alarm((unsigned)(OPENING_SECONDS + options.warm_up + options.seconds + DRAIN_SECONDS + LEAVING_SECONDS + 10));
    queue = epoll_create1(0);
    prepare_requests(&options);
    prepare_connections(options.port, options.tls, queue);
    look(at_start);
    make_connections();
    run();
    double ended = now();
    count_unanswered();
    stopped = true;
    while (left && now() < ended + LEAVING_SECONDS)
        wait_for_events(LONGEST_WAIT);
    report(ended);
    return 0;
}
