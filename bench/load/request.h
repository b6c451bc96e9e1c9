/* Requests from templates. What is filled in has a fixed width, so that all requests have one length:
   making one is a copy and a few short writes. */
#ifndef REQUEST_H
#define REQUEST_H

#include <stddef.h>

#include "options.h"

enum { KEY_WIDTH = 32 };

/* Builds the prototype of all requests; call it once. */
void prepare_requests(const struct options *options);

size_t request_length(void);

/* Writes the next request: `request_length()` bytes. */
void write_request(char *where);

#endif
