/* The addresses of argv[1] as c-ares has them, one a line; its error and exit code 1 otherwise. */
#include <ares.h>
#include <netdb.h>
#include <stdio.h>
#include <sys/select.h>
#include <sys/socket.h>

static int code = ARES_ENOTINITIALIZED;

static void heard(void *unused, int status, int timeouts, struct ares_addrinfo *found)
{
    char text[64];

    (void)unused;
    (void)timeouts;
    code = status;
    for (struct ares_addrinfo_node *each = found ? found->nodes : NULL; each; each = each->ai_next)
        if (!getnameinfo(each->ai_addr, each->ai_addrlen, text, sizeof text, NULL, 0, NI_NUMERICHOST))
            puts(text);
    ares_freeaddrinfo(found);
}

int main(int argc, char **argv)
{
    struct ares_addrinfo_hints hints = {.ai_family = AF_UNSPEC};
    ares_channel channel;
    fd_set readers, writers;
    struct timeval wait;
    int count;

    if (argc != 2 || ares_library_init(ARES_LIB_INIT_ALL) || ares_init(&channel))
        return 2;
    ares_getaddrinfo(channel, argv[1], NULL, &hints, heard, NULL);
    for (;;) {
        FD_ZERO(&readers);
        FD_ZERO(&writers);
        if (!(count = ares_fds(channel, &readers, &writers)))
            break;
        select(count, &readers, &writers, NULL, ares_timeout(channel, NULL, &wait));
        ares_process(channel, &readers, &writers);
    }
    ares_destroy(channel);
    if (code) {
        fprintf(stderr, "%s\n", ares_strerror(code));
        return 1;
    }
    return 0;
}
