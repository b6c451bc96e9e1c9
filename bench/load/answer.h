/* HTTP/1.1 answers: whether they are whole, and whether they are what a host would take for a success. */
#ifndef ANSWER_H
#define ANSWER_H

#include <stddef.h>

enum verdict {
    INCOMPLETE,
    GOOD,
    BAD_HEAD,   /* no HTTP/1.1, or no Content-Length */
    BAD_STATUS, /* not 200 */
    BAD_BODY,   /* does not begin as expected, or has a member "error" */
};

/* Judges what has come so far. `text[length]` must be writable: it becomes the end of a string. Sets `*closes` when
   the server says that it will close the connection. */
enum verdict judge(char *text, size_t length, const char *expect, int *closes);

#endif
