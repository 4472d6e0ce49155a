// Stage 3 in C++17: a pool of workers. The reactor accepts and waits; the workers read and count.
//
// stage3_broken.cpp and stage3_fixed.cpp are the same file but for what stands between the `lesson` anchors:
// who owns a session. The client is built in, and the order of events is forced (order.hpp).

#include <atomic>
#include <map>
// ANCHOR: lesson
#include <memory>
// ANCHOR_END: lesson

#include "order.hpp"
#include "plumbing.hpp"

using Count = std::atomic<std::uint64_t>;
constexpr auto relaxed = std::memory_order_relaxed;

// ANCHOR: session
// One client. The session keeps no bytes between two reads: it counts them.
struct Session {
    const int socket;
    Count received{0};

    explicit Session(int socket) : socket(socket) {}
    ~Session() { close(socket); }
};
// ANCHOR_END: session

// ANCHOR: lesson
// ANCHOR: handle
// What the map and every task hold: a share of the session. It is deleted, and its socket closed, with the last one.
using Handle = std::shared_ptr<Session>;

Handle make_session(int socket) {
    return std::make_shared<Session>(socket);
}
// ANCHOR_END: handle
// ANCHOR_END: lesson

// ANCHOR: release
// The map gives a session up.
void release(Handle session) {
    // ANCHOR: lesson
    session.reset(); // a worker that still holds a share keeps the session alive
    // ANCHOR_END: lesson
}
// ANCHOR_END: release

// ANCHOR: worker
// A worker: takes a session that has something to read, and reads until the socket is empty.
void work(const char* role, Queue<Handle>& queue, Count& total) {
    Order::act_as(role);
    char buffer[16 * 1024];
    for (;;) {
        point("take");
        const auto task = queue.pop();
        if (!task) return;
        const Handle& session = *task;
        for (;;) {
            point("read");
            const auto n = recv(session->socket, buffer, sizeof buffer, MSG_DONTWAIT);
            if (n <= 0) break; // empty, finished, or broken: the reactor removes it
            point("count");
            total.fetch_add(n, relaxed);
            session->received.fetch_add(n, relaxed);
        }
    }
}
// ANCHOR_END: worker

// ANCHOR: reactor
// The reactor: one thread that accepts, waits for events and hands sessions to the workers.
std::uint64_t serve(int listener, int stop) {
    const int epoll = check(epoll_create1(EPOLL_CLOEXEC), "epoll_create1");
    Queue<Handle> queue;
    Count total{0};
    std::thread workers[] = {std::thread(work, "worker-1", std::ref(queue), std::ref(total)),
                             std::thread(work, "worker-2", std::ref(queue), std::ref(total))};

    watch(epoll, EPOLL_CTL_ADD, listener, EPOLLIN, LISTENER);
    watch(epoll, EPOLL_CTL_ADD, stop, EPOLLIN, STOP);
    std::map<std::uint64_t, Handle> sessions;
    std::uint64_t accepted = 0;
    for (bool serving = true; serving;) {
        point("wait");
        epoll_event events[64];
        const int ready = epoll_wait(epoll, events, 64, -1);
        for (int i = 0; i < ready; ++i) {
            const std::uint32_t mask = events[i].events;
            const std::uint64_t id = events[i].data.u64;
            if (id == STOP) {
                serving = false;
            } else if (id == LISTENER) {
                const int socket = accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
                if (socket < 0) continue;
                sessions[++accepted] = make_session(socket);
                watch(epoll, EPOLL_CTL_ADD, socket, EPOLLIN | EPOLLRDHUP | EPOLLET, accepted);
            } else if (const auto found = sessions.find(id); found != sessions.end()) {
                if (mask & EPOLLIN) {
                    point("queue");
                    queue.push(found->second);
                }
                if (mask & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) {
                    point("remove");
                    Handle session = std::move(found->second);
                    sessions.erase(found);
                    release(std::move(session));
                }
            }
        }
    }
    queue.close();
    for (auto& worker : workers) worker.join();
    for (auto& [id, session] : sessions) release(std::move(session));
    close(epoll);
    return total.load(relaxed);
}
// ANCHOR_END: reactor

// The client sends 16 KiB and hangs up with a reset.
void play_client(int listener, int stop) {
    Order::act_as("client");
    point("connect");
    const int socket = connect_to(listener);
    point("send");
    send_all(socket, std::string(16 * 1024, 'x'));
    point("reset");
    reset(socket);
    point("stop");
    eventfd_write(stop, 1);
}

int main() {
    // ANCHOR: order
    order.play({
        {"client", "connect"},
        {"main", "wait"}, // the connection
        {"client", "send"},
        {"main", "wait"}, // its bytes
        {"main", "queue"},
        {"worker-1", "take"},
        {"worker-1", "read"}, // 16,384 bytes, all there is
        {"client", "reset"},
        {"main", "wait"},      // the hang-up
        {"main", "remove"},    // the map gives the session up
        {"worker-1", "count"}, // and the worker is not done with it
        {"client", "stop"},
    });
    // ANCHOR_END: order
    const int listener = listen_on_loopback();
    const int stop = check(eventfd(0, EFD_CLOEXEC), "eventfd");
    std::thread client(play_client, listener, stop);
    const auto received = serve(listener, stop);
    client.join();
    std::printf("served: %llu bytes received\n", static_cast<unsigned long long>(received));
}
