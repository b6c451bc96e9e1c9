#define _GNU_SOURCE /* IP_BIND_ADDRESS_NO_PORT, SOCK_NONBLOCK */
#include "connection.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "request.h"

enum { FIRST_CAPACITY = 2048, MOST_ANSWER = 64 * 1024 * 1024, SOURCES = 200 };

unsigned long handshakes;

static int server_port, queue;
static SSL_CTX *context;

static void give_up(const char *what) {
    fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
    exit(3);
}

void prepare_connections(int port, int tls, int epoll) {
    server_port = port;
    queue = epoll;
    if (!tls)
        return;
    context = SSL_CTX_new(TLS_client_method());
    if (context == NULL)
        give_up("OpenSSL");
    int version = tls == 12 ? TLS1_2_VERSION : TLS1_3_VERSION;
    SSL_CTX_set_min_proto_version(context, version);
    SSL_CTX_set_max_proto_version(context, version);
    /* The chain is not checked: the server is our own, on this machine, and it is the server that is measured. No
       session is kept: stock osqueryd resumes none. */
    SSL_CTX_set_verify(context, SSL_VERIFY_NONE, NULL);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                  SSL_MODE_RELEASE_BUFFERS);
}

static void *allocate(size_t size) {
    void *found = malloc(size);
    if (found == NULL)
        give_up("memory");
    return found;
}

struct connection *new_connection(void) {
    struct connection *one = allocate(sizeof *one);
    *one = (struct connection){.descriptor = -1, .capacity = FIRST_CAPACITY};
    one->request = allocate(request_length());
    one->answer = allocate(FIRST_CAPACITY + 1);
    return one;
}

void free_connection(struct connection *one) {
    free(one->request);
    free(one->answer);
    free(one);
}

/* Comes from one of many addresses of this machine: one alone runs out of ports within seconds, since a closed
   connection keeps its port for a minute. */
static void bind_source(int descriptor) {
    static uint32_t turn;
    int yes = 1;
    struct sockaddr_in source = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7F000002u + turn++ % SOURCES)};
    setsockopt(descriptor, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &yes, sizeof yes);
    if (bind(descriptor, (struct sockaddr *)&source, sizeof source) < 0)
        give_up("bind");
}

bool open_connection(struct connection *one) {
    int yes = 1;
    one->descriptor = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (one->descriptor < 0)
        give_up("socket (is `ulimit -n` high enough?)");
    setsockopt(one->descriptor, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    bind_source(one->descriptor);
    struct sockaddr_in server = {.sin_family = AF_INET, .sin_port = htons((uint16_t)server_port)};
    server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (connect(one->descriptor, (struct sockaddr *)&server, sizeof server) < 0 && errno != EINPROGRESS) {
        close_connection(one);
        return false;
    }
    one->state = CONNECTING;
    struct epoll_event interest = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = one};
    if (epoll_ctl(queue, EPOLL_CTL_ADD, one->descriptor, &interest) < 0)
        give_up("epoll");
    return true;
}

void close_connection(struct connection *one) {
    if (one->ssl != NULL) {
        if (one->state >= IDLE) {
            ERR_clear_error();
            SSL_shutdown(one->ssl); /* says goodbye; does not wait for the answer */
        }
        SSL_free(one->ssl);
        one->ssl = NULL;
    }
    if (one->descriptor >= 0)
        close(one->descriptor);
    one->descriptor = -1;
    one->state = CLOSED;
    one->has_request = false;
}

void give_request(struct connection *one, double due) {
    write_request(one->request);
    one->has_request = true;
    one->due = due;
    one->sent = one->received = 0;
    if (one->state == IDLE)
        one->state = SENDING;
}

/* What a TLS call that did not succeed means: 0 wait, -1 broken or ended. */
static ssize_t tls_failure(SSL *ssl, int result) {
    int error = SSL_get_error(ssl, result);
    return error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE ? 0 : -1;
}

/* Both return how many bytes went, 0: wait, -1: broken or ended. */
static ssize_t send_some(struct connection *one, const char *from, size_t count) {
    if (one->ssl != NULL) {
        ERR_clear_error();
        int result = SSL_write(one->ssl, from, (int)count);
        return result > 0 ? result : tls_failure(one->ssl, result);
    }
    ssize_t result = send(one->descriptor, from, count, MSG_NOSIGNAL);
    return result > 0 ? result : errno == EAGAIN ? 0 : -1;
}

static ssize_t receive_some(struct connection *one, char *to, size_t count) {
    if (one->ssl != NULL) {
        ERR_clear_error();
        int result = SSL_read(one->ssl, to, (int)count);
        return result > 0 ? result : tls_failure(one->ssl, result);
    }
    ssize_t result = recv(one->descriptor, to, count, 0);
    return result > 0 ? result : result < 0 && errno == EAGAIN ? 0 : -1;
}

/* Returns 1 connected, 0 wait, -1 broken. */
static int finish_connecting(struct connection *one) {
    int error = 0;
    socklen_t size = sizeof error;
    struct sockaddr_in peer;
    getsockopt(one->descriptor, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error)
        return -1;
    size = sizeof peer;
    if (getpeername(one->descriptor, (struct sockaddr *)&peer, &size) < 0)
        return 0;
    if (context == NULL)
        return 1;
    one->ssl = SSL_new(context);
    SSL_set_fd(one->ssl, one->descriptor);
    SSL_set_tlsext_host_name(one->ssl, "localhost");
    SSL_set_connect_state(one->ssl);
    return 1;
}

static int finish_handshake(struct connection *one) {
    if (one->ssl == NULL)
        return 1;
    ERR_clear_error();
    int result = SSL_do_handshake(one->ssl);
    if (result != 1)
        return (int)tls_failure(one->ssl, result);
    handshakes++;
    return 1;
}

/* Receives until the answer is whole. Returns 1 whole, 0 wait, -1 broken. */
static int receive_answer(struct connection *one, const char *expect, enum verdict *verdict, int *closes) {
    for (;;) {
        if (one->received == one->capacity) {
            if (one->capacity >= MOST_ANSWER)
                return -1;
            one->capacity *= 2;
            one->answer = realloc(one->answer, one->capacity + 1);
            if (one->answer == NULL)
                give_up("memory");
        }
        ssize_t count = receive_some(one, one->answer + one->received, one->capacity - one->received);
        if (count <= 0)
            return (int)count;
        one->received += (size_t)count;
        *verdict = judge(one->answer, one->received, expect, closes);
        if (*verdict != INCOMPLETE)
            return 1;
    }
}

static enum event closed_as(struct connection *one, enum event event) {
    close_connection(one);
    return event;
}

/* One step of each kind; GOES_ON: there may be another one to do at once. */
static enum event step_opening(struct connection *one) {
    int done = one->state == CONNECTING ? finish_connecting(one) : finish_handshake(one);
    if (done < 0)
        return closed_as(one, BROKEN);
    if (done == 0)
        return NOTHING;
    if (one->state == CONNECTING) {
        one->state = HANDSHAKING;
        return GOES_ON;
    }
    one->state = one->has_request ? SENDING : IDLE;
    return one->has_request ? GOES_ON : OPENED;
}

static enum event step_sending(struct connection *one) {
    ssize_t went = send_some(one, one->request + one->sent, request_length() - one->sent);
    if (went < 0)
        return closed_as(one, BROKEN);
    one->sent += (size_t)went;
    if (one->sent == request_length())
        one->state = RECEIVING;
    return went == 0 ? NOTHING : GOES_ON;
}

static enum event step_receiving(struct connection *one, const char *expect, enum verdict *verdict, int *closes) {
    int done = receive_answer(one, expect, verdict, closes);
    if (done < 0)
        return closed_as(one, BROKEN);
    if (done == 0)
        return NOTHING;
    one->state = IDLE;
    one->has_request = false;
    return ANSWERED;
}

/* Nothing was asked: what comes is the end, or a TLS session ticket. */
static enum event step_idle(struct connection *one) {
    char unasked[256];
    ssize_t went = receive_some(one, unasked, sizeof unasked);
    return went < 0 ? closed_as(one, ENDED) : went == 0 ? NOTHING : GOES_ON;
}

enum event advance(struct connection *one, const char *expect, enum verdict *verdict, int *closes) {
    enum event event = GOES_ON;
    *closes = 0;
    while (event == GOES_ON)
        switch (one->state) {
        case CLOSED: event = NOTHING; break;
        case CONNECTING:
        case HANDSHAKING: event = step_opening(one); break;
        case SENDING: event = step_sending(one); break;
        case RECEIVING: event = step_receiving(one, expect, verdict, closes); break;
        case IDLE:
        case LEFT: event = step_idle(one); break;
        }
    return event;
}
