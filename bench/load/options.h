/* What is to be measured: the command line, checked. */
#ifndef OPTIONS_H
#define OPTIONS_H

#include <stdbool.h>
#include <stddef.h>

enum { MOST_HEADERS = 8, MOST_WATCHED = 16, MOST_CONNECTIONS = 18000 };

struct options {
    int port;
    int connections;
    double seconds;        /* of the measured window */
    double warm_up;        /* seconds before it, with the same load */
    double rate;           /* requests per second (open loop); 0: each connection asks again at once (closed loop) */
    long requests;         /* stop starting after so many */
    int tls;               /* 0: plain, 12: TLS 1.2, 13: TLS 1.3 */
    bool new_connection;   /* for every request */
    bool leave_open;       /* never close first, as stock osqueryd: the server has to */
    bool in_turn;          /* keys one after the other instead of at random */
    long seed;             /* of the random choices: those of two runs are alike if this is */
    const char *method;
    const char *path;
    const char *user_agent;
    char *body;            /* a template; NULL: none */
    size_t body_length;
    const char *headers[MOST_HEADERS]; /* templates */
    int header_count;
    long keys;             /* how many different keys */
    long first_key;
    long addresses;        /* how many different addresses */
    const char *expect;    /* how every answer's body must begin */
    int watched[MOST_WATCHED]; /* processes whose processor time is counted */
    int watched_count;
};

/* Reads the command line; prints what is wrong with it and ends the program. */
struct options read_options(int count, char **words);

#endif
