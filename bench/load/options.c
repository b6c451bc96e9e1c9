#include "options.h"

#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char HELP[] =
    "load: requests to a server on 127.0.0.1, for measurements; prints one JSON object\n"
    "  --port N                where the server listens\n"
    "  --connections N         at once (64)\n"
    "  --seconds S             of the measured window (2, at most 120)\n"
    "  --warm-up S             before it (0.5)\n"
    "  --rate R                requests per second, come what may (open loop); without it each connection\n"
    "                          asks again as soon as it is answered (closed loop)\n"
    "  --requests N            stop after so many\n"
    "  --tls 1.2|1.3           instead of plain HTTP\n"
    "  --new-connection        for every request\n"
    "  --leave-open            the same, and never close first: the server has to (stock osqueryd)\n"
    "  --method M --path P     (POST /)\n"
    "  --user-agent A          (orbit)\n"
    "  --body T, --body-file F a template\n"
    "  --header T              a template, up to 8 times\n"
    "  --expect T              how every answer's body must begin\n"
    "  --keys N --first-key N  which keys: 32 characters made of a number (100000, 0)\n"
    "  --addresses N           how many different addresses (20000)\n"
    "  --in-turn               keys one after the other, not at random\n"
    "  --seed N                of what is chosen at random: the same is chosen with the same number (0)\n"
    "  --watch PID             count this process's time, up to 16 times\n"
    "In templates {key} stands for a node key and {address} for an IPv4 address.\n";

static void complain(const char *format, ...) {
    va_list values;
    va_start(values, format);
    fputs("load: ", stderr);
    vfprintf(stderr, format, values);
    fputs(" (--help lists the options)\n", stderr);
    va_end(values);
    exit(2);
}

static double number(const char *name, const char *text, double least, double most) {
    char *end;
    double value = strtod(text, &end);
    if (end == text || *end != '\0' || !(value >= least && value <= most))
        complain("--%s: a number from %g to %g, not %s", name, least, most, text);
    return value;
}

static void read_body(struct options *options, const char *path) {
    FILE *file = fopen(path, "rb");
    if (file == NULL)
        complain("--body-file: cannot read %s", path);
    fseek(file, 0, SEEK_END);
    long length = ftell(file);
    rewind(file);
    options->body = malloc((size_t)length + 1);
    options->body_length = fread(options->body, 1, (size_t)length, file);
    if (options->body_length != (size_t)length)
        complain("--body-file: cannot read all of %s", path);
    fclose(file);
}

static const struct option NAMES[] = {
    {"port", required_argument, NULL, 'p'},        {"connections", required_argument, NULL, 'c'},
    {"seconds", required_argument, NULL, 's'},     {"warm-up", required_argument, NULL, 'w'},
    {"rate", required_argument, NULL, 'r'},        {"requests", required_argument, NULL, 'n'},
    {"tls", required_argument, NULL, 't'},         {"new-connection", no_argument, NULL, 'N'},
    {"leave-open", no_argument, NULL, 'L'},        {"method", required_argument, NULL, 'm'},
    {"path", required_argument, NULL, 'u'},        {"user-agent", required_argument, NULL, 'A'},
    {"body", required_argument, NULL, 'b'},        {"body-file", required_argument, NULL, 'B'},
    {"header", required_argument, NULL, 'H'},      {"expect", required_argument, NULL, 'e'},
    {"keys", required_argument, NULL, 'k'},        {"first-key", required_argument, NULL, 'f'},
    {"addresses", required_argument, NULL, 'a'},   {"in-turn", no_argument, NULL, 'i'},
    {"seed", required_argument, NULL, 'S'},
    {"watch", required_argument, NULL, 'W'},       {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

static void take(struct options *options, int letter, const char *name, char *text) {
    switch (letter) {
    case 'p': options->port = (int)number(name, text, 1, 65535); break;
    case 'c': options->connections = (int)number(name, text, 1, MOST_CONNECTIONS); break;
    case 's': options->seconds = number(name, text, 0.01, 120); break;
    case 'w': options->warm_up = number(name, text, 0, 60); break;
    case 'r': options->rate = number(name, text, 0.1, 1e6); break;
    case 'n': options->requests = (long)number(name, text, 1, 1e8); break;
    case 't': options->tls = !strcmp(text, "1.2") ? 12 : !strcmp(text, "1.3") ? 13 : 0;
              if (!options->tls) complain("--tls: 1.2 or 1.3, not %s", text);
              break;
    case 'L': options->leave_open = true; /* fall through */
    case 'N': options->new_connection = true; break;
    case 'm': options->method = text; break;
    case 'u': options->path = text; break;
    case 'A': options->user_agent = text; break;
    case 'b': options->body = text; options->body_length = strlen(text); break;
    case 'B': read_body(options, text); break;
    case 'H': if (options->header_count == MOST_HEADERS) complain("--header: at most %d", MOST_HEADERS);
              options->headers[options->header_count++] = text;
              break;
    case 'e': options->expect = text; break;
    case 'k': options->keys = (long)number(name, text, 1, 1e9); break;
    case 'f': options->first_key = (long)number(name, text, 0, 1e9); break;
    case 'a': options->addresses = (long)number(name, text, 1, 1e6); break;
    case 'i': options->in_turn = true; break;
    case 'S': options->seed = (long)number(name, text, 0, 1e9); break;
    case 'W': if (options->watched_count == MOST_WATCHED) complain("--watch: at most %d", MOST_WATCHED);
              options->watched[options->watched_count++] = (int)number(name, text, 1, 1e9);
              break;
    case 'h': fputs(HELP, stdout); exit(0);
    default: complain("this is not understood");
    }
}

struct options read_options(int count, char **words) {
    struct options options = {
        .connections = 64, .seconds = 2, .warm_up = 0.5, .requests = 100000000, .method = "POST", .path = "/",
        .user_agent = "orbit", .keys = 100000, .addresses = 20000, .expect = "",
    };
    int letter, which = 0;
    while ((letter = getopt_long(count, words, "", NAMES, &which)) != -1)
        take(&options, letter, NAMES[which].name, optarg);
    if (optind != count)
        complain("%s is not an option", words[optind]);
    if (options.port == 0)
        complain("--port is needed");
    return options;
}
