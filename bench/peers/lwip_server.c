/* lwIP as Debian builds it, over a TAP: the services of server.cpp at the same ports, and the same response, by the raw
 * API. One thread: it reads frames until there are none, then runs lwIP's timers and waits. Nothing of lwIP's threads and
 * sockets is used, and its own tapif, which starts a thread for itself and configures the device, is not either.
 *
 * What Debian decided when it built the library stays: windows and send buffers of 64 KiB, an MSS of 1460, NewReno, one
 * pbuf per frame, no segmentation offload. Connections come from malloc, so that their number has no bound. */
#define _GNU_SOURCE
#include <lwip/etharp.h>
#include <lwip/init.h>
#include <lwip/netif.h>
#include <lwip/tcp.h>
#include <lwip/timeouts.h>
#include <netif/ethernet.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { largest_frame = 1514, frames_per_turn = 256 };

static const char response[] = "HTTP/1.1 200 OK\r\nServer: lwip\r\nDate: Sun, 29 Nov 2026 07:00:00 GMT\r\n"
                               "Content-Type: text/plain\r\nContent-Length: 13\r\n\r\nhello, world\n";
static char zeros[65536];
static int tap;

static err_t write_frame(struct netif* n, struct pbuf* p) {
    (void)n; /* LWIP_NETIF_TX_SINGLE_PBUF: a frame is in one piece */
    return write(tap, p->payload, p->len) == p->len ? ERR_OK : ERR_IF;
}

static err_t set_up(struct netif* n) {
    static const u8_t mac[6] = {2, 0, 0, 0, 0, 8};
    memcpy(n->hwaddr, mac, 6);
    n->hwaddr_len = 6;
    n->name[0] = 't';
    n->name[1] = 'p';
    n->mtu = largest_frame - 14;
    n->output = etharp_output;
    n->linkoutput = write_frame;
    n->flags = NETIF_FLAG_BROADCAST | NETIF_FLAG_ETHARP | NETIF_FLAG_ETHERNET | NETIF_FLAG_LINK_UP;
    return ERR_OK;
}

/* What an HTTP connection remembers, in the pointer that lwIP keeps for it: bytes of the blank line seen so far, and
 * whether the client asked for the end. */
static void* remembered(size_t matched, bool close) {
    return (void*)(matched | (close ? 8u : 0u));
}

static err_t let_go(struct tcp_pcb* c) {
    tcp_recv(c, NULL);
    tcp_sent(c, NULL);
    if (tcp_close(c) == ERR_OK) return ERR_OK;
    tcp_abort(c);
    return ERR_ABRT;
}

static err_t answer(struct tcp_pcb* c, size_t state, const struct pbuf* p) {
    size_t matched = state & 7;
    bool close = state >> 3;
    bool answered = false;
    for (const struct pbuf* q = p; q != NULL; q = q->next) {
        const char* text = q->payload;
        close = close || memmem(text, q->len, "onnection: close", 16) || memmem(text, q->len, "HTTP/1.0", 8);
        for (size_t i = 0; i < q->len; ++i) {
            matched = text[i] == "\r\n\r\n"[matched] ? matched + 1 : text[i] == '\r';
            if (matched != 4) continue;
            matched = 0;
            answered = true;
            if (tcp_write(c, response, sizeof response - 1, 0) != ERR_OK) fprintf(stderr, "no room for a response\n");
        }
    }
    if (answered && close) return let_go(c);
    tcp_arg(c, remembered(matched, close));
    if (answered) tcp_output(c);
    return ERR_OK;
}

static err_t on_request(void* state, struct tcp_pcb* c, struct pbuf* p, err_t e) {
    (void)e;
    if (p == NULL) return let_go(c);
    tcp_recved(c, p->tot_len);
    const err_t outcome = answer(c, (size_t)state, p);
    pbuf_free(p);
    return outcome;
}

static err_t on_text_to_sink(void* none, struct tcp_pcb* c, struct pbuf* p, err_t e) {
    (void)none, (void)e;
    if (p == NULL) return let_go(c);
    tcp_recved(c, p->tot_len);
    pbuf_free(p);
    return ERR_OK;
}

static err_t on_text_to_echo(void* none, struct tcp_pcb* c, struct pbuf* p, err_t e) {
    (void)none, (void)e;
    if (p == NULL) return let_go(c);
    for (const struct pbuf* q = p; q != NULL; q = q->next) tcp_write(c, q->payload, q->len, TCP_WRITE_FLAG_COPY);
    tcp_output(c);
    tcp_recved(c, p->tot_len);
    pbuf_free(p);
    return ERR_OK;
}

static void fill(struct tcp_pcb* c) {
    while (tcp_sndbuf(c) > 0) {
        const u16_t n = (u16_t)(tcp_sndbuf(c) < 32768 ? tcp_sndbuf(c) : 32768);
        if (tcp_write(c, zeros, n, 0) != ERR_OK) break;
    }
    tcp_output(c);
}

static err_t on_room(void* none, struct tcp_pcb* c, u16_t acknowledged) {
    (void)none, (void)acknowledged;
    fill(c);
    return ERR_OK;
}

static err_t on_connection(void* service, struct tcp_pcb* c, err_t e) {
    if (c == NULL || e != ERR_OK) return ERR_VAL;
    tcp_nagle_disable(c);
    tcp_arg(c, NULL);
    switch ((size_t)service) {
    case 0: tcp_recv(c, on_request); break;
    case 1:
        tcp_recv(c, on_text_to_sink);
        tcp_sent(c, on_room);
        fill(c);
        break;
    case 2: tcp_recv(c, on_text_to_sink); break;
    default: tcp_recv(c, on_text_to_echo);
    }
    return ERR_OK;
}

static void read_frames(struct netif* n) {
    for (int i = 0; i < frames_per_turn; ++i) {
        struct pbuf* p = pbuf_alloc(PBUF_RAW, largest_frame, PBUF_RAM); /* where it is read to, without a copy */
        if (p == NULL) return;
        const ssize_t size = read(tap, p->payload, largest_frame);
        if (size > 0) {
            pbuf_realloc(p, (u16_t)size);
            if (n->input(p, n) == ERR_OK) continue;
        }
        pbuf_free(p);
        if (size <= 0) return;
    }
}

static void open_tap(const char* name) {
    struct ifreq r = {0};
    strncpy(r.ifr_name, name, IFNAMSIZ - 1);
    r.ifr_flags = IFF_TAP | IFF_NO_PI;
    tap = open("/dev/net/tun", O_RDWR | O_NONBLOCK);
    for (int tries = 0; ioctl(tap, TUNSETIFF, &r) != 0; ++tries) {
        if (errno != EBUSY || tries == 200) {
            perror(name);
            exit(1);
        }
        usleep(10000); /* who had it before is still being taken down */
    }
}

int main(int count, char** argument) {
    const char *device = "tapir0", *address = "192.0.2.2/24";
    u16_t port = 8000;
    for (int i = 1; i + 1 < count; i += 2) {
        if (strcmp(argument[i], "--tap") == 0) device = argument[i + 1];
        if (strcmp(argument[i], "--address") == 0) address = argument[i + 1];
        if (strcmp(argument[i], "--port") == 0) port = (u16_t)atoi(argument[i + 1]);
    }
    char own[32] = {0};
    strncpy(own, address, strcspn(address, "/") < sizeof own ? strcspn(address, "/") : sizeof own - 1);
    ip4_addr_t ip, mask, gateway;
    if (!ip4addr_aton(own, &ip)) return fprintf(stderr, "no IPv4 address: %s\n", address), 1;
    IP4_ADDR(&mask, 255, 255, 255, 0);
    ip4_addr_set_zero(&gateway);

    open_tap(device);
    lwip_init();
    struct netif n;
    if (netif_add(&n, &ip, &mask, &gateway, NULL, set_up, ethernet_input) == NULL) return 1;
    netif_set_default(&n);
    netif_set_up(&n);
    for (u16_t i = 0; i < 4; ++i) {
        struct tcp_pcb* l = tcp_new();
        if (l == NULL || tcp_bind(l, IP_ANY_TYPE, (u16_t)(port + i)) != ERR_OK) return perror("bind"), 1;
        l = tcp_listen(l);
        tcp_arg(l, (void*)(size_t)i);
        tcp_accept(l, on_connection);
    }
    puts("ready lwip");
    fflush(stdout);
    for (;;) {
        read_frames(&n);
        sys_check_timeouts();
        struct pollfd p = {tap, POLLIN, 0};
        const u32_t sleep = sys_timeouts_sleeptime();
        poll(&p, 1, sleep > 1000 ? 1000 : (int)sleep);
    }
}
