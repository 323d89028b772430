/* What nobody can beat: the same bytes over the same kind of socket, with nothing around them.
 *
 *   floor client SOCKET        sends `request` (from the generated request.h), prints the answer
 *   floor echo REQUEST ANSWER  answers every REQUEST bytes on stdin, a socket, with ANSWER bytes
 */
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static char buffer[1 << 16];

static int client(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address.sun_path)
        return 1;
    strcpy(address.sun_path, path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) < 0)
        return 1;
    if (write(fd, request, sizeof request) != (ssize_t)sizeof request)
        return 1;
    ssize_t answer = read(fd, buffer, sizeof buffer);
    return answer > 0 && write(STDOUT_FILENO, buffer, (size_t)answer) == answer ? 0 : 1;
}

static int echo(size_t question, size_t answer)
{
    if (question > sizeof buffer || answer > sizeof buffer)
        return 1;
    for (;;) {
        for (size_t have = 0; have < question;) {
            ssize_t got = read(STDIN_FILENO, buffer, question - have);
            if (got <= 0)
                return got < 0;
            have += (size_t)got;
        }
        if (write(STDIN_FILENO, buffer, answer) != (ssize_t)answer)
            return 1;
    }
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "client") == 0)
        return client(argv[2]);
    if (argc == 4 && strcmp(argv[1], "echo") == 0)
        return echo(strtoul(argv[2], NULL, 10), strtoul(argv[3], NULL, 10));
    return 2;
}
