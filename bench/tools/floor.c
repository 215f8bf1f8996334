/* Floor for SMTP into a Maildir: one process that believes everything, checks nothing, and does to the disk what every server has
   to do: a file of its own, flushed, renamed, and its directory flushed. Run in the Maildir.
   gcc -O2 -static -s -o floor floor.c */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int say(const char *text) { return write(1, text, strlen(text)) < 0; }

int main(int argc, char **argv)
{
	static char in[1 << 20];
	char tmp[64], new[64];
	size_t have = 0;
	int file = -1, directory, number = 0;
	if (argc < 2 || chdir(argv[1]) || (directory = open("new", O_RDONLY)) < 0 || say("220 floor\r\n"))
		return 1;
	for (;;) {
		ssize_t n = read(0, in + have, sizeof in - have);
		if (n <= 0)
			return 0;
		have += n;
		if (file >= 0) {
			if (have < 5 || memcmp(in + have - 5, "\r\n.\r\n", 5))
				continue;
			if (write(file, in, have - 3) < 0 || fsync(file) || close(file) || rename(tmp, new) || fsync(directory)
			    || say("250 ok\r\n"))
				return 1;
			file = -1;
		} else {
			if (in[have - 1] != '\n')
				continue;
			if (!memcmp(in, "DATA", 4)) {
				snprintf(tmp, sizeof tmp, "tmp/%d.%d", getpid(), number);
				snprintf(new, sizeof new, "new/%d.%d", getpid(), number++);
				if ((file = open(tmp, O_CREAT | O_EXCL | O_WRONLY, 0600)) < 0 || say("354 go\r\n"))
					return 1;
			} else if (!memcmp(in, "QUIT", 4)) {
				return say("221 bye\r\n");
			} else if (say("250 ok\r\n")) {
				return 1;
			}
		}
		have = 0;
	}
}
