// Stage 4 in C++17: a session with a memory. Requests may arrive in pieces, so the session keeps a receive buffer, and
// EPOLLONESHOT gives it to one worker at a time: until the worker arms the socket again, the kernel reports nothing.
//
// stage4_broken.cpp and stage4_fixed.cpp are the same file but for what stands between the `lesson` anchors:
// who keeps a second worker out. The client is built in, and the order of events is forced (order.hpp).

#include <atomic>
#include <cstring>
#include <map>
#include <memory>
#include <string_view>

#include "order.hpp"
#include "plumbing.hpp"

using Count = std::atomic<std::uint64_t>;
constexpr auto relaxed = std::memory_order_relaxed;

constexpr std::size_t SIZE = 4096;
constexpr std::uint32_t ONCE = EPOLLIN | EPOLLRDHUP | EPOLLET | EPOLLONESHOT;
constexpr std::string_view HELLO = "HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\nHello, World!";

// ANCHOR: session
// One client: its socket, and what only the worker that serves it may touch.
struct Session {
    const std::uint64_t id;
    const int socket;
    // ANCHOR: lesson
    Mutex mutex; // held by the worker that is in the session
    // ANCHOR_END: lesson
    char* receive = new char[SIZE]; // what has arrived and is not consumed yet: the first `filled` bytes
    std::size_t filled = 0;
    char* reply = new char[SIZE]; // where replies are put together

    Session(std::uint64_t id, int socket) : id(id), socket(socket) {}
    Session(const Session&) = delete;
    ~Session() {
        close(socket);
        delete[] receive;
        delete[] reply;
    }
};
// ANCHOR_END: session

using Handle = std::shared_ptr<Session>;

struct Totals {
    Count received{0}, replies{0};
};

// Reads until the socket is empty and answers each request that is complete. Returns how many bytes came.
std::uint64_t drain(Session& session, Totals& totals) {
    std::uint64_t received = 0;
    for (;;) {
        point("read");
        const auto n = recv(session.socket, session.receive + session.filled, SIZE - session.filled, MSG_DONTWAIT);
        if (n <= 0) return received; // empty, finished, or broken: the reactor removes it
        received += n;
        session.filled += n;
        for (;;) {
            const auto end = std::string_view(session.receive, session.filled).find("\r\n\r\n");
            if (end == std::string_view::npos) break;
            session.filled -= end + 4;
            std::memmove(session.receive, session.receive + end + 4, session.filled);
            std::memcpy(session.reply, HELLO.data(), HELLO.size());
            if (send(session.socket, session.reply, HELLO.size(), MSG_NOSIGNAL) > 0) totals.replies.fetch_add(1, relaxed);
        }
    }
}

// ANCHOR: worker
// One event of one session: drain the socket, arm it again, and hand on what was received.
void handle(Session& session, int epoll, Totals& totals) {
    point("enter");
    // ANCHOR: lesson
    std::lock_guard guard(session.mutex);
    // ANCHOR_END: lesson
    const std::uint64_t received = drain(session, totals);

    // The kernel may watch the socket again while the rest is done.
    point("rearm");
    before_arming();
    watch(epoll, EPOLL_CTL_MOD, session.socket, ONCE, session.id);

    // The message goes on with its buffer; the session gets an empty one for the next.
    totals.received.fetch_add(received, relaxed);
    if (received > 0 && session.filled == 0) {
        point("free");
        delete[] session.receive;
        point("fresh");
        session.receive = new char[SIZE];
    }
}
// ANCHOR_END: worker

void work(const char* role, int epoll, Queue<Handle>& queue, Totals& totals) {
    Order::act_as(role);
    for (;;) {
        point("take");
        const auto session = queue.pop();
        if (!session) return;
        handle(**session, epoll, totals);
    }
}

// The reactor: one thread that accepts, waits for events and hands sessions to the workers.
void serve(int listener, int stop, Totals& totals) {
    const int epoll = check(epoll_create1(EPOLL_CLOEXEC), "epoll_create1");
    Queue<Handle> queue;
    std::thread workers[] = {std::thread(work, "worker-1", epoll, std::ref(queue), std::ref(totals)),
                             std::thread(work, "worker-2", epoll, std::ref(queue), std::ref(totals))};

    watch(epoll, EPOLL_CTL_ADD, listener, EPOLLIN, LISTENER);
    watch(epoll, EPOLL_CTL_ADD, stop, EPOLLIN, STOP);
    std::map<std::uint64_t, Handle> sessions;
    std::uint64_t accepted = 0;
    for (bool serving = true; serving;) {
        point("wait");
        epoll_event events[64];
        const int ready = epoll_wait(epoll, events, 64, -1);
        after_waiting();
        for (int i = 0; i < ready; ++i) {
            const std::uint32_t mask = events[i].events;
            const std::uint64_t id = events[i].data.u64;
            if (id == STOP) {
                serving = false;
            } else if (id == LISTENER) {
                const int socket = accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
                if (socket < 0) continue;
                ++accepted;
                sessions[accepted] = std::make_shared<Session>(accepted, socket);
                watch(epoll, EPOLL_CTL_ADD, socket, ONCE, accepted);
            } else if (const auto found = sessions.find(id); found != sessions.end()) {
                if (mask & EPOLLIN) {
                    point("queue");
                    queue.push(found->second);
                }
                if (mask & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) {
                    point("remove");
                    sessions.erase(found);
                }
            }
        }
    }
    queue.close();
    for (auto& worker : workers) worker.join();
    close(epoll);
}

// The client sends two requests, the second in the re-arming window, and reads both replies.
void play_client(int listener, int stop) {
    Order::act_as("client");
    point("connect");
    const int socket = connect_to(listener);
    for (int request = 0; request < 2; ++request) {
        point("send");
        send_all(socket, "GET / HTTP/1.1\r\n\r\n");
    }
    point("receive");
    char replies[2 * HELLO.size()];
    check(recv(socket, replies, sizeof replies, MSG_WAITALL), "recv");
    close(socket);
    point("stop");
    eventfd_write(stop, 1);
}

int main() {
    // ANCHOR: order
    order.play({
        {"client", "connect"},
        {"main", "wait"}, // the connection
        {"client", "send"},
        {"main", "wait"}, // the first request
        {"main", "queue"},
        {"worker-1", "take"},
        {"worker-1", "read"},  // the request, and the reply to it
        {"worker-1", "rearm"}, // the kernel may report the socket again, and worker-1 is still in the session
        {"client", "send"},
        {"main", "wait"}, // the second request
        {"main", "queue"},
        {"worker-2", "take"},
        {"worker-2", "enter"},
        {"worker-2", "rearm"},
        {"worker-1", "free"}, // its buffer, for a fresh one
        {"worker-2", "free"}, // the same buffer
        {"worker-1", "fresh"},
        {"client", "receive"},
    });
    // ANCHOR_END: order
    const int listener = listen_on_loopback();
    const int stop = check(eventfd(0, EFD_CLOEXEC), "eventfd");
    std::thread client(play_client, listener, stop);
    Totals totals;
    serve(listener, stop, totals);
    client.join();
    std::printf("served: %llu bytes received, %llu replies\n", static_cast<unsigned long long>(totals.received),
                static_cast<unsigned long long>(totals.replies));
}
