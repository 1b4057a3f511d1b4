/* SPDX-License-Identifier: GPL-2.0-only */
#include "net/net_test.h"

#include <fcntl.h>
#include <sys/stat.h>

static struct party client;
static char dir[64], path[96];

static void setup(void)
{
    strcpy(dir, "/tmp/cordon-net-XXXXXX");
    cr_assert_not_null(mkdtemp(dir));
    snprintf(path, sizeof(path), "%s/s.sock", dir);
    cr_assert_eq(gw_loop_new(&loop), 0);
}

static void teardown(void)
{
    party_fini(&client);
    party_fini(&server);
    gw_listener_free(&listener);
    gw_loop_free(&loop);
    unlink(path);
    rmdir(dir);
}

TestSuite(unix_socket, .init = setup, .fini = teardown, .timeout = 30);

static struct gw_addr at_path(void)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    struct gw_addr a = {.len = sizeof(un)};

    strcpy(un.sun_path, path);
    memcpy(&a.sa, &un, sizeof(un));
    return a;
}

Test(unix_socket, tells_who_is_there_and_carries_bytes)
{
    int fd = gw_listen_unix(path, (gid_t)-1);
    struct gw_addr to = at_path();
    struct gw_stream *s = NULL;
    char text[GW_ADDR_TEXT];
    struct stat st;

    cr_assert_geq(fd, 0);
    cr_assert_eq(stat(path, &st), 0);
    cr_expect_eq(st.st_mode & 0777, 0660);
    cr_assert_eq(gw_listener_new(loop, fd, 4, on_accepted, NULL, &listener), 0);
    cr_assert_eq(gw_tcp_connect(loop, &to, 1000, &test_limits, &s), 0);
    party_attach(&client, s);
    UNTIL(client.ready && server.ready);
    cr_expect_eq(gw_stream_identity(server.stream)->ucred.pid, getpid());
    cr_expect_eq(gw_stream_identity(server.stream)->ucred.uid, getuid());
    cr_expect_str_eq(gw_addr_text(gw_stream_peer(server.stream), text), "unix");
    cr_expect_str_eq(gw_addr_text(gw_stream_peer(client.stream), text), path);
    client.to_send = 2 << 20;
    party_pump(&client);
    UNTIL(gw_buf_len(&server.got) == client.to_send);
    gw_stream_close(client.stream, 0);
    UNTIL(client.closed && server.closed);
    cr_expect_eq(server.error, 0);
}

Test(unix_socket, is_open_to_its_owner_and_group_whatever_the_umask_says)
{
    mode_t mask = umask(0077);
    int fd = gw_listen_unix(path, (gid_t)-1);
    struct stat st;

    cr_assert_geq(fd, 0);
    cr_assert_eq(stat(path, &st), 0);
    cr_expect_eq(st.st_mode & 0777, 0660u);
    cr_expect_eq(umask(mask), 0077u, "left as it was");
    close(fd);
}

Test(unix_socket, a_stale_one_is_replaced_a_living_one_and_a_file_are_not)
{
    int fd = gw_listen_unix(path, (gid_t)-1);

    cr_assert_geq(fd, 0);
    cr_expect_eq(gw_listen_unix(path, (gid_t)-1), -EADDRINUSE);
    close(fd);
    fd = gw_listen_unix(path, (gid_t)-1);
    cr_expect_geq(fd, 0, "%d", fd);
    close(fd);
    unlink(path);
    close(open(path, O_CREAT | O_WRONLY, 0600));
    cr_expect_eq(gw_listen_unix(path, (gid_t)-1), -EEXIST);
}

Test(unix_socket, a_missing_folder_or_a_long_name_is_an_error)
{
    char name[256];

    cr_expect_eq(gw_listen_unix("/nonexistent/x.sock", (gid_t)-1), -ENOENT);
    memset(name, 'a', sizeof(name));
    name[255] = '\0';
    cr_expect_eq(gw_listen_unix(name, (gid_t)-1), -ENAMETOOLONG);
}

Test(unix_socket, nobody_listening_is_heard_as_closed)
{
    struct gw_addr to = at_path();
    struct gw_stream *s = NULL;

    cr_assert_eq(gw_tcp_connect(loop, &to, 1000, &test_limits, &s), 0);
    party_attach(&client, s);
    UNTIL(client.closed);
    cr_expect_eq(client.error, -ENOENT);
}
