#define _GNU_SOURCE /* memmem, strcasestr */
#include "answer.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { MOST_BODY = 64 * 1024 * 1024 };

/* Returns the value of a header line within the head, NULL when it is not there. */
static const char *header(const char *head, const char *name) {
    size_t width = strlen(name);
    for (const char *line = strstr(head, "\r\n"); line != NULL && line[2] != '\r'; line = strstr(line + 2, "\r\n"))
        if (!strncasecmp(line + 2, name, width) && line[2 + width] == ':')
            return line + 3 + width + strspn(line + 3 + width, " ");
    return NULL;
}

enum verdict judge(char *text, size_t length, const char *expect, int *closes) {
    text[length] = '\0';
    char *end = strstr(text, "\r\n\r\n");
    if (end == NULL)
        return INCOMPLETE;
    const char *length_text = header(text, "content-length");
    long body_length = length_text == NULL ? -1 : atol(length_text);
    if (strncmp(text, "HTTP/1.1 ", 9) != 0 || body_length < 0 || body_length > MOST_BODY)
        return BAD_HEAD;
    const char *body = end + 4;
    if (length - (size_t)(body - text) < (size_t)body_length)
        return INCOMPLETE;
    const char *connection = header(text, "connection");
    *closes = connection != NULL && !strncasecmp(connection, "close", 5);
    if (memcmp(text + 9, "200", 3) != 0)
        return BAD_STATUS;
    size_t begin = strlen(expect);
    if ((size_t)body_length < begin || memcmp(body, expect, begin) != 0)
        return BAD_BODY;
    return memmem(body, (size_t)body_length, "\"error\"", 7) == NULL ? GOOD : BAD_BODY;
}
