// Hands strings from some threads to as many others, each pair through a queue of its own of bounded length.
// queues PAIRS STRINGS

#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace {

class Queue {
  public:
    void put(std::vector<std::string> batch)
    {
        std::unique_lock<std::mutex> lock(mutex_);
        room_.wait(lock, [this] { return batches_.size() < kLongest; });
        batches_.push_back(std::move(batch));
        some_.notify_one();
    }

    std::vector<std::string> take()
    {
        std::unique_lock<std::mutex> lock(mutex_);
        some_.wait(lock, [this] { return !batches_.empty(); });
        std::vector<std::string> batch = std::move(batches_.front());
        batches_.pop_front();
        room_.notify_one();
        return batch;
    }

  private:
    static constexpr std::size_t kLongest = 16;
    std::mutex mutex_;
    std::condition_variable room_, some_;
    std::deque<std::vector<std::string>> batches_;
};

constexpr std::size_t kBatch = 64;

void produce(Queue &queue, std::size_t strings, unsigned state)
{
    std::vector<std::string> batch;
    for (std::size_t i = 0; i < strings; i++) {
        state = state * 1664525u + 1013904223u;
        batch.push_back("message " + std::to_string(i) + ": " + std::string(16 + (state >> 25), 'x'));
        if (batch.size() == kBatch) {
            queue.put(std::move(batch));
            batch = {};
        }
    }
    queue.put(std::move(batch));
    queue.put({});
}

std::size_t consume(Queue &queue)
{
    std::size_t sum = 0;
    std::string line;
    for (;;) {
        std::vector<std::string> batch = queue.take();
        if (batch.empty())
            return sum;
        for (auto &text : batch) {
            std::string answer = "answer to " + text;
            line = answer.substr(answer.size() / 2);
            sum += line.size();
        }
    }
}

} // namespace

int main(int argc, char **argv)
{
    std::size_t pairs = argc > 1 ? std::strtoul(argv[1], nullptr, 0) : 4;
    std::size_t strings = argc > 2 ? std::strtoul(argv[2], nullptr, 0) : 100000;
    std::vector<Queue> queues(pairs);
    std::vector<std::size_t> sums(pairs);
    std::vector<std::thread> threads;
    for (std::size_t i = 0; i < pairs; i++) {
        // Never a whole number of batches: an empty one says that there is no more.
        threads.emplace_back([&, i] { produce(queues[i], strings | 1, static_cast<unsigned>(i)); });
        threads.emplace_back([&, i] { sums[i] = consume(queues[i]); });
    }
    std::size_t total = 0;
    for (auto &thread : threads)
        thread.join();
    for (std::size_t sum : sums)
        total += sum;
    std::printf("%zu\n", total);
    return 0;
}
