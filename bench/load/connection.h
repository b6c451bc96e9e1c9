/* One connection: connect, TLS, send, receive. It never waits; `advance` goes as far as it can. */
#ifndef CONNECTION_H
#define CONNECTION_H

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>

#include "answer.h"

enum state {
    CLOSED,
    CONNECTING,
    HANDSHAKING,
    IDLE,    /* open, nothing asked */
    SENDING,
    RECEIVING,
    LEFT,    /* answered and abandoned: waits for the server to close it */
};

struct connection {
    enum state state;
    int descriptor;
    SSL *ssl;
    bool has_request; /* to be sent as soon as the connection is open */
    double due;       /* when this request should have been sent */
    char *request;
    size_t sent;
    char *answer;
    size_t received, capacity;
    struct connection *next; /* in the list of those to be freed */
};

enum event {
    NOTHING,
    GOES_ON,  /* never returned by `advance` */
    OPENED,   /* and idle */
    ANSWERED, /* `*verdict` says how */
    BROKEN,   /* while it was needed; it is closed now */
    ENDED,    /* by the server while it was idle or left; it is closed now */
};

extern unsigned long handshakes; /* finished, since the start */

/* Sets up epoll and TLS (0: plain). Ends the program when that fails. */
void prepare_connections(int port, int tls, int epoll);

struct connection *new_connection(void);

/* Begins to connect. Returns false when the system does not let us. */
bool open_connection(struct connection *one);

/* Has the next request sent now, or once the connection is open. */
void give_request(struct connection *one, double due);

enum event advance(struct connection *one, const char *expect, enum verdict *verdict, int *closes);

void close_connection(struct connection *one);
void free_connection(struct connection *one);

#endif
