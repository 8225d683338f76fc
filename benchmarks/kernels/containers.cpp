// Works the standard library's containers hard: maps of strings, lists, vectors of vectors, sorting, concatenation.
// containers THREADS ROUNDS

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <list>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

namespace {

std::size_t work(unsigned seed, int rounds)
{
    std::size_t sum = 0;
    for (int round = 0; round < rounds; round++) {
        std::map<std::string, std::vector<std::string>> index;
        std::unordered_map<std::string, std::shared_ptr<std::string>> shared;
        std::list<std::string> recent;
        unsigned state = seed + static_cast<unsigned>(round) * 2654435761u;
        for (int i = 0; i < 20000; i++) {
            state = state * 1664525u + 1013904223u;
            std::string key = "key/" + std::to_string(state >> 20);
            index[key].push_back(std::string(state >> 26, 'x') + key);
            shared[key] = std::make_shared<std::string>(key + key + key);
            recent.push_back(key);
            if (recent.size() > 500)
                recent.pop_front();
        }
        std::vector<std::string> all;
        for (auto &[key, values] : index) {
            std::sort(values.begin(), values.end());
            for (auto &value : values)
                all.push_back(value + *shared[key]);
        }
        std::stable_sort(all.begin(), all.end(), std::greater<>());
        sum += all.size() + all.front().size() + recent.size();
    }
    return sum;
}

} // namespace

int main(int argc, char **argv)
{
    int count = argc > 1 ? std::atoi(argv[1]) : 1, rounds = argc > 2 ? std::atoi(argv[2]) : 10;
    std::vector<std::thread> threads;
    std::vector<std::size_t> sums(static_cast<std::size_t>(count));
    for (int i = 0; i < count; i++)
        threads.emplace_back(
            [&sums, i, rounds] { sums[static_cast<std::size_t>(i)] = work(static_cast<unsigned>(i), rounds); });
    std::size_t total = 0;
    for (int i = 0; i < count; i++) {
        threads[static_cast<std::size_t>(i)].join();
        total += sums[static_cast<std::size_t>(i)];
    }
    std::printf("%zu\n", total);
    return 0;
}
