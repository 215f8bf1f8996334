/* Stand-in for syslogd: takes every datagram from /dev/log or another socket, appends it to a file.
   gcc -O2 -o logsink logsink.c ; logsink FILE [SOCKET] */
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
int main(int argc, char **argv)
{
	static char buf[65536];
	struct sockaddr_un a;
	int s = socket(AF_UNIX, SOCK_DGRAM, 0);
	int f = open(argc > 1 ? argv[1] : "/dev/null", O_WRONLY | O_CREAT | O_APPEND, 0644);
	memset(&a, 0, sizeof a);
	a.sun_family = AF_UNIX;
	strncpy(a.sun_path, argc > 2 ? argv[2] : "/dev/log", sizeof a.sun_path - 1);
	unlink(a.sun_path);
	if (s < 0 || f < 0 || bind(s, (struct sockaddr *)&a, sizeof a) < 0) return 1;
	chmod(a.sun_path, 0666);
	for (;;) {
		ssize_t n = recv(s, buf, sizeof buf - 1, 0);
		if (n < 0) return 1;
		while (n && (buf[n - 1] == 0 || buf[n - 1] == '\n')) n--;
		buf[n++] = '\n';
		if (write(f, buf, n) < 0) return 1;
	}
}
