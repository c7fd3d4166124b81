/* The addresses of argv[1] as the C library's getaddrinfo has them, one a line; its error and exit code 1 otherwise. */
#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>
#include <sys/socket.h>

int main(int argc, char **argv)
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM}, *found, *each;
    char text[INET6_ADDRSTRLEN];
    int code = argc == 2 ? getaddrinfo(argv[1], NULL, &hints, &found) : EAI_FAIL;

    if (code) {
        fprintf(stderr, "%s\n", gai_strerror(code));
        return 1;
    }
    for (each = found; each; each = each->ai_next)
        if (!getnameinfo(each->ai_addr, each->ai_addrlen, text, sizeof text, NULL, 0, NI_NUMERICHOST))
            puts(text);
    return 0;
}
