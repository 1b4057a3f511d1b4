/* SPDX-License-Identifier: GPL-2.0-only */
/* Build the rooms from the lowest floor up, run the loop, tear down in reverse. */
#include "worker.h"

#include <errno.h>
#include <grp.h>
#include <malloc.h>
#include <pwd.h>
#include <signal.h>
#include <sys/resource.h>

#define JOURNAL_KEEP 100000
#define DEVICES_MAX 100000
#define PKI_CHECK_MS 3600000
#define FIGURES_MS 10000
#define DEVICE_BODY_MAX (16u << 10) /* a certification request */
#define DEVICE_IDLE_S 30
#define DEVICE_REQUESTS_MAX 256
#define KEEP_BYTES (2 << 20)
#define DESCRIPTORS_MAX 1048576 /* the kernel's own limit (fs.nr_open) */

/* ---- before privileges are dropped ---- */

/* The enforcer tells when to stop; a terminal's Ctrl-C or a service manager reaches both. */
static void ignore_signals(void)
{
    (void)signal(SIGPIPE, SIG_IGN);
    (void)signal(SIGHUP, SIG_IGN);
    (void)signal(SIGINT, SIG_IGN);
    (void)signal(SIGTERM, SIG_IGN);
}

/*
 * A turn's output to many takes memory and gives it back. Returned to the kernel each time, every
 * page of it would be asked for, cleared and faulted in anew in the next turn.
 */
static void keep_some_memory(void)
{
#ifdef M_TRIM_THRESHOLD /* glibc's; others have no such habit */
    (void)mallopt(M_TRIM_THRESHOLD, KEEP_BYTES);
#endif
}

/* What limits.connections may become with a reload, when there is no privilege any more. */
static void raise_hard_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_max >= DESCRIPTORS_MAX)
        return;
    limit.rlim_max = DESCRIPTORS_MAX;
    (void)setrlimit(RLIMIT_NOFILE, &limit); /* what is needed now is seen to below */
}

/* A descriptor for each connection, and some for files and the loop. */
static void raise_descriptor_limit(const struct gw_config *config)
{
    rlim_t want = (rlim_t)config->limits.connections + 1024;
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur >= want)
        return;
    limit.rlim_cur = want;
    limit.rlim_max = GW_MAX(limit.rlim_max, want);
    if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
        gw_log_warning("limits.connections cannot be served: no descriptors limit=%llu: %s",
                       (unsigned long long)want, gw_error_text(-errno));
}

static int bind_all(struct worker *w)
{
    const struct gw_config *c = w->config;
    const struct passwd *user = getpwnam(c->gateway.user);
    char path[128];
    int err;

    (void)snprintf(path, sizeof(path), "%s/admin.sock", c->gateway.run_dir);
    err = entrance_bind(&w->entrances[ENTRANCE_MQTT], &c->listen.mqtt);
    if (!err)
        err = entrance_bind(&w->entrances[ENTRANCE_HTTPS], &c->listen.https);
    if (!err)
        err = entrance_bind(&w->entrances[ENTRANCE_ADMIN], &c->admin.https);
    if (!err)
        err = entrance_bind_unix(&w->entrances[ENTRANCE_SOCKET], path,
                                 user ? user->pw_gid : (gid_t)-1);
    return err;
}

static void describe_entrances(struct worker *w)
{
    w->entrances[ENTRANCE_MQTT] = (struct entrance){.name = "mqtt",
                                                    .auth = GW_TLS_AUTH_REQUIRED,
                                                    .serve = wiring_serve_mqtt,
                                                    .admit = wiring_admit_mqtt};
    w->entrances[ENTRANCE_HTTPS] = (struct entrance){.name = "https",
                                                     .auth = GW_TLS_AUTH_OPTIONAL,
                                                     .serve = wiring_serve_https,
                                                     .admit = wiring_admit_https};
    w->entrances[ENTRANCE_ADMIN] =
        (struct entrance){.name = "admin", .auth = GW_TLS_AUTH_NONE, .serve = wiring_serve_admin};
    w->entrances[ENTRANCE_SOCKET] =
        (struct entrance){.name = "socket", .plain = true, .serve = wiring_serve_admin};
    for (size_t i = 0; i < ENTRANCES; i++) {
        w->entrances[i].worker = w;
        gw_list_init(&w->entrances[i].arrivals);
    }
}

/* ---- certificate ---- */

static int secure_all(struct worker *w)
{
    for (size_t i = 0; i < ENTRANCES; i++) {
        int err = entrance_secure(&w->entrances[i]);

        if (err) {
            gw_log_error("TLS cannot be set up for=%s: %s", w->entrances[i].name,
                         gw_error_text(err));
            return err;
        }
    }
    return 0;
}

static struct gw_uplink_identity uplink_identity(const struct worker *w)
{
    return (struct gw_uplink_identity){gw_pki_gateway_id(w->pki), gw_pki_key(w->pki),
                                       gw_pki_cert_der(w->pki)};
}

/* Renew the certificate when an address is missing in it or its end is near. */
static void check_pki(void *owner)
{
    struct worker *w = owner;
    int renewed = gw_pki_refresh(w->pki, gw_clock_wall_ms() / 1000);

    if (renewed < 0)
        gw_log_error("the server certificate cannot be renewed: %s", gw_error_text(renewed));
    if (renewed == 1 && secure_all(w) == 0) {
        const struct gw_uplink_identity id = uplink_identity(w);

        gw_log_info("server certificate renewed");
        gw_uplink_identity(w->uplink, &id);
    }
    gw_timer_start(w->loop, &w->pki_timer, PKI_CHECK_MS);
}

static void publish_figures(void *owner)
{
    struct worker *w = owner;

    gw_peers_publish_figures(w->peers);
    gw_timer_start(w->loop, &w->figures_timer, FIGURES_MS);
}

/* ---- the rooms ---- */

static int open_state(struct worker *w)
{
    const struct gw_config *c = w->config;
    const struct gw_presence_ops presence_ops = wiring_presence(w);
    const struct gw_profiles_ops profiles_ops = wiring_profiles(w);
    const struct gw_quarantine_ops quarantine_ops = wiring_quarantine(w);
    int err = gw_store_open(w->loop, c->gateway.state_dir, &w->store);

    if (!err)
        err = gw_journal_open(w->loop, w->store, JOURNAL_KEEP, &w->journal);
    if (!err)
        err = gw_devices_open(w->loop, w->store, DEVICES_MAX, &w->devices);
    if (!err)
        err = gw_access_open(c, w->store, w->devices, &w->access);
    if (!err)
        err = gw_presence_open(w->loop, c, w->store, w->journal, w->devices, &presence_ops,
                               &w->presence);
    if (!err)
        err = gw_profiles_open(w->loop, w->store, w->journal, w->devices, &profiles_ops,
                               &w->profiles);
    if (!err)
        err = gw_quarantine_open(w->loop, c, w->store, w->journal, w->devices, &quarantine_ops,
                                 &w->quarantine);
    if (!err)
        err = gw_pki_open(c->gateway.state_dir, &w->pki);
    return err;
}

/* The device port's HTTP: each protocol on it brings its own rows. */
static int open_device_http(struct worker *w)
{
    const struct gw_http_config cfg = {
        .body_max = DEVICE_BODY_MAX, .idle_s = DEVICE_IDLE_S, .connections = DEVICE_REQUESTS_MAX};
    int err = gw_http_new(w->loop, &cfg, &w->device_http);

    if (!err)
        err = gw_enroll_mount(w->enroll, w->device_http);
    return err ? err : gw_http_mount(w->device_http, upgrade_routes, w);
}

static int open_services(struct worker *w, int enforcer_fd)
{
    const struct gw_config *c = w->config;
    const struct gw_uplink_identity id = uplink_identity(w);
    const struct gw_hub_limits limits = {.queued_bytes = c->limits.queued_bytes};
    struct gw_peers_rooms peer_rooms;
    struct gw_admin_rooms admin_rooms;
    int err = gw_hub_open(w->loop, &limits, w->store, &wiring_hub, w, &w->hub);

    peer_rooms = wiring_peers(w);
    if (!err)
        err = gw_peers_open(w->loop, &peer_rooms, &w->peers);
    if (!err)
        err = gw_mqtt_server_new(w->loop, c, w->peers, w->hub, &w->mqtt);
    if (!err)
        err = gw_uplink_open(w->loop, c, w->store, &id, &wiring_uplink, w, &w->uplink);
    if (!err)
        gw_hub_recalled(w->hub);
    if (!err)
        err = gw_enroll_new(w->loop, c, w->pki, w->devices, w->journal, w->store, &w->enroll);
    if (!err)
        gw_enroll_watch(w->enroll, wiring_wrong_code, w);
    if (!err)
        err = open_device_http(w);
    if (!err) {
        wiring_listen(w);
        err = gw_enforcer_connect(w->loop, enforcer_fd, &wiring_enforcer, w, &w->enforcer);
    }
    if (err)
        return err;
    admin_rooms = wiring_admin(w);
    return gw_admin_new(w->loop, &admin_rooms, &w->admin);
}

static int open_entrances(struct worker *w)
{
    int err = gw_pki_refresh(w->pki, gw_clock_wall_ms() / 1000);

    err = err < 0 ? err : secure_all(w);
    for (size_t i = 0; i < ENTRANCES && !err; i++)
        err = entrance_open(&w->entrances[i]);
    return err;
}

static int build(struct worker *w, int enforcer_fd)
{
    int err = gw_loop_new(&w->loop);

    gw_timer_init(&w->pki_timer, check_pki, w);
    gw_timer_init(&w->figures_timer, publish_figures, w);
    if (!err)
        err = open_state(w);
    if (!err)
        err = open_services(w, enforcer_fd);
    if (!err)
        err = open_entrances(w);
    if (err)
        return err;
    gw_profiles_start(w->profiles, w->enforcer);
    gw_quarantine_start(w->quarantine, w->enforcer);
    gw_timer_start(w->loop, &w->pki_timer, PKI_CHECK_MS);
    publish_figures(w);
    return 0;
}

/* Sessions end first, so that what they cause is still stored, sealed and told. */
static void tear_down(struct worker *w)
{
    for (size_t i = 0; i < ENTRANCES; i++)
        entrance_close(&w->entrances[i]);
    if (w->mqtt)
        gw_mqtt_server_stop(w->mqtt);
    if (w->presence)
        gw_presence_shutdown(w->presence);
    if (w->store)
        gw_store_flush(w->store);
    if (w->journal && w->devices)
        wiring_unlisten(w);
    gw_timer_stop(&w->pki_timer);
    gw_timer_stop(&w->figures_timer);
    gw_admin_free(&w->admin);
    gw_http_free(&w->device_http);
    gw_enroll_free(&w->enroll);
    gw_mqtt_server_free(&w->mqtt);
    gw_peers_close(&w->peers);
    if (w->hub)
        gw_hub_flush(w->hub); /* what it settles, the uplink's spool may let go of */
    gw_uplink_close(&w->uplink);
    gw_hub_close(&w->hub);
    gw_pki_close(&w->pki);
    gw_quarantine_close(&w->quarantine);
    gw_profiles_close(&w->profiles);
    gw_enforcer_free(&w->enforcer);
    gw_presence_close(&w->presence);
    gw_access_close(&w->access);
    gw_devices_close(&w->devices);
    gw_journal_close(&w->journal);
    gw_store_close(&w->store);
    gw_loop_free(&w->loop);
    gw_config_free(&w->config);
}

/* ---- reload ---- */

/* What SIGHUP does not apply: said, so that nobody waits for it. */
static void say_unapplied(const struct gw_config *old, const struct gw_config *fresh)
{
    if (old->isolation.addresses != fresh->isolation.addresses ||
        old->isolation.ingress != fresh->isolation.ingress)
        gw_log_warning("isolation.addresses and isolation.ingress change only with a restart");
    if (strcmp(old->gateway.state_dir, fresh->gateway.state_dir) != 0 ||
        strcmp(old->gateway.run_dir, fresh->gateway.run_dir) != 0 ||
        strcmp(old->gateway.user, fresh->gateway.user) != 0 ||
        memcmp(&old->listen, &fresh->listen, sizeof(old->listen)) != 0)
        gw_log_warning(
            "gateway.state_dir, run_dir and user, and listen change only with a restart");
}

void worker_reload(struct worker *w, struct gw_slice bundle, const char *error)
{
    GW_CLEANUP(gw_config_free) struct gw_config *old = NULL;
    struct gw_config_error why = {""};
    struct gw_hub_limits limits = {0};
    struct gw_config *fresh = NULL;

    if (error || gw_config_unbundle(bundle, &fresh, &why) != 0) {
        gw_log_error("configuration not reloaded, nothing changes: %s", error ? error : why.text);
        gw_journal_alert(w->journal, GW_WARNING, "configuration", NULL, NULL,
                         "The configuration was not reloaded: %s", error ? error : why.text);
        return;
    }
    say_unapplied(w->config, fresh);
    old = w->config;
    w->config = fresh;
    raise_descriptor_limit(fresh);
    gw_access_reload(w->access, fresh);
    gw_presence_reload(w->presence, fresh);
    gw_quarantine_reload(w->quarantine, fresh);
    limits.queued_bytes = fresh->limits.queued_bytes;
    gw_hub_reload(w->hub, &limits);
    gw_peers_reload(w->peers, fresh);
    gw_mqtt_server_reload(w->mqtt, fresh);
    gw_enroll_reload(w->enroll, fresh);
    gw_admin_reload(w->admin, fresh);
    if (entrance_move(&w->entrances[ENTRANCE_ADMIN], &old->admin.https, &fresh->admin.https) != 0 ||
        gw_uplink_reload(w->uplink, fresh) != 0 || secure_all(w) != 0)
        gw_log_error("the new configuration is only partly in force");
    gw_log_info("configuration reloaded");
}

/* Which cipher is faster here is tried out before anybody connects. */
static void try_ciphers(void)
{
    struct gw_crypto_speed speed;

    gw_crypto_try_ciphers(&speed);
    gw_crypto_prefer(&speed);
    gw_log_info("TLS puts %s (AES by %s)", gw_crypto_cipher_text(), gw_crypto_aes_name());
}

/* ---- */

int gw_worker_run(int fd)
{
    GW_CLEANUP(gw_buf_fini) struct gw_buf bundle = {.max = SIZE_MAX};
    struct gw_config_error error = {""};
    struct worker w = {0};
    int err;

    gw_log_name("worker");
    ignore_signals();
    describe_entrances(&w);
    err = gw_enforcer_receive_bundle(fd, &bundle);
    if (!err)
        err = gw_config_unbundle(gw_buf_slice(&bundle), &w.config, &error);
    if (err) {
        gw_log_error("no configuration from the enforcer: %s",
                     *error.text ? error.text : gw_error_text(err));
        return 1;
    }
    gw_wipe(bundle.data, bundle.cap);
    keep_some_memory();
    raise_hard_limit();
    raise_descriptor_limit(w.config);
    err = gw_crypto_init();
    if (!err)
        try_ciphers();
    if (!err)
        err = bind_all(&w);
    if (!err && w.config->uplink.broker_count && !*w.config->uplink.ca.path)
        err = gw_tls_read_system_store(); /* out of reach in the sandbox */
    if (!err)
        err = gw_sandbox_enter(w.config);
    if (!err)
        err = build(&w, fd);
    if (err) {
        gw_log_error("cannot start: %s", gw_error_text(err));
    } else {
        gw_log_info("ready id=%s sandbox=\"%s\" aes=\"%s\"", gw_pki_gateway_id(w.pki),
                    gw_sandbox_text(), gw_crypto_aes_name());
        err = gw_loop_run(w.loop);
        gw_log_info("stopping");
    }
    tear_down(&w);
    gw_tls_fini();
    gw_crypto_fini();
    return err ? 1 : 0;
}
