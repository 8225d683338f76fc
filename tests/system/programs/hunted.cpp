/* The same of containers and objects. */
#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>
#include <deque>
#include <functional>
#include <future>
#include <list>
#include <map>
#include <memory>
#include <numeric>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#define APART __attribute__((noipa))

APART static void use(const void *)
{
}

APART static void index_of_a_vector(std::size_t n)
{
    std::vector<int> numbers(n);
    numbers[n] = 1; // index_of_a_vector
    use(numbers.data());
}

APART static void reserved_only(std::size_t n)
{
    std::vector<char> bytes;
    bytes.reserve(n);
    for (std::size_t i = 0; i <= n; i++)
        bytes.data()[i] = 1; // reserved_only
    use(bytes.data());
}

APART static void iterator_past_the_end(std::size_t n)
{
    std::vector<long> numbers(n);
    for (auto at = numbers.begin(); at <= numbers.end(); ++at)
        *at = 3; // iterator_past_the_end
    use(numbers.data());
}

APART static void reference_after_growth(std::size_t n)
{
    std::vector<int> numbers(n);
    int &first = numbers[0];
    numbers.resize(100 * n);
    first = 7; // reference_after_growth
    use(numbers.data());
}

APART static void negative_index(std::size_t n)
{
    std::vector<int> numbers(n);
    numbers[n - 25] = 1; // negative_index
    use(numbers.data());
}

APART static void fill(std::size_t n)
{
    std::vector<int> numbers(n);
    std::fill(numbers.begin(), numbers.end() + 2, 9); // fill
    use(numbers.data());
}

APART static void copy_of_too_many(std::size_t n)
{
    std::vector<int> from(n), to(n / 2);
    std::copy(from.begin(), from.end(), to.begin()); // copy_of_too_many
    use(to.data());
}

APART static void member_past_the_end(std::size_t n)
{
    struct triple {
        double x, y, z;
    };
    std::vector<triple> triples(3);
    triples[n / 8].x = 2; // member_past_the_end
    use(triples.data());
}

APART static void string_too_short(std::size_t n)
{
    std::string word(n, 'x');
    std::strcpy(&word[0], "that is much longer than twenty-four"); // string_too_short
    use(word.data());
}

APART static void iterator_of_a_deque(std::size_t n)
{
    auto *numbers = new std::deque<int>(n);
    auto at = numbers->begin();
    delete numbers;
    *at = 4; // iterator_of_a_deque
}

APART static void array_of_new(std::size_t n)
{
    int *numbers = new int[n];
    numbers[n] = 1; // array_of_new
    use(numbers);
    delete[] numbers;
}

struct counted {
    long value;
    ~counted()
    {
        use(this);
    }
};

APART static void array_with_destructors(std::size_t n)
{
    counted *all = new counted[n];
    for (std::size_t i = 0; i <= n; i++)
        all[i].value = 5; // array_with_destructors
    delete[] all;
}

struct base {
    int first = 1;
    virtual ~base() = default;
};
struct derived : base {
    std::array<int, 4> more = {};
};

APART static void cast_to_more(std::size_t n)
{
    base *one = new base;
    use(one);
    static_cast<derived *>(one)->more[n / 24] = 5; // cast_to_more
    delete one;
}

APART static void member_of_a_deleted_object(std::size_t n)
{
    derived *one = new derived;
    use(one);
    delete one;
    *const_cast<volatile int *>(&one->more[n / 12]) = 1; // member_of_a_deleted_object
}

APART static void pointer_of_a_unique_one(std::size_t n)
{
    volatile int *raw;
    {
        auto numbers = std::make_unique<int[]>(n);
        raw = numbers.get();
    }
    raw[2] = 1; // pointer_of_a_unique_one
}

APART static void pointer_of_a_shared_one(std::size_t n)
{
    volatile long *raw;
    {
        auto number = std::make_shared<long>(n);
        raw = number.get();
    }
    *raw = 1; // pointer_of_a_shared_one
}

APART static void erased_from_a_list(std::size_t n)
{
    std::list<std::size_t> numbers{1, 2, n};
    volatile std::size_t &first = numbers.front();
    numbers.pop_front();
    first = 5; // erased_from_a_list
}

APART static void erased_from_a_map(std::size_t n)
{
    std::map<int, std::size_t> numbers{{1, n}, {3, 4}};
    volatile std::size_t &first = numbers[1];
    numbers.erase(1);
    first = 9; // erased_from_a_map
}

APART static void erased_from_a_table(std::size_t n)
{
    std::unordered_map<std::size_t, std::array<int, 8>> numbers;
    volatile int &first = numbers[n][0];
    numbers.erase(n);
    first = 9; // erased_from_a_table
}

APART static void in_a_lambda(std::size_t n)
{
    std::vector<short> numbers(n);
    std::function<void(std::size_t)> put = [&numbers](std::size_t at) {
        numbers[at] = 1; // in_a_lambda
    };
    put(n);
    use(numbers.data());
}

APART static void in_a_thread(std::size_t n)
{
    std::vector<char> bytes(n);
    std::thread other([&] {
        bytes[n] = 1; // in_a_thread
    });
    other.join();
    use(bytes.data());
}

APART static void in_a_task(std::size_t n)
{
    std::vector<char> bytes(n + 8);
    std::async(std::launch::async, [&] {
        for (std::size_t i = 0; i < n + 9; i++)
            bytes[i] = 1; // in_a_task
    }).get();
    use(bytes.data());
}

APART static void where_an_exception_is_caught(std::size_t n)
{
    char *bytes = new char[n - 8];
    try {
        throw std::runtime_error("no");
    } catch (const std::exception &) {
        std::strcpy(bytes, "sixteen or more characters"); // where_an_exception_is_caught
    }
    use(bytes);
    delete[] bytes;
}

APART static void read_from_a_stream(std::size_t n)
{
    char *bytes = new char[n / 3];
    std::istringstream in("abcdefghijklmnopq");
    in.read(bytes, 12); // read_from_a_stream
    delete[] bytes;
}

template <class T> APART static void put(T *all, std::size_t at, T value)
{
    all[at] = value; // in_a_template
}

APART static void in_a_template(std::size_t n)
{
    std::vector<double> numbers(5);
    put(numbers.data(), n / 4 - 1, 1.0);
    use(numbers.data());
}

#define CASE(name) {#name, name}
static const struct {
    const char *name;
    void (*run)(std::size_t);
} cases[] = {
    CASE(index_of_a_vector),
    CASE(reserved_only),
    CASE(iterator_past_the_end),
    CASE(reference_after_growth),
    CASE(negative_index),
    CASE(fill),
    CASE(copy_of_too_many),
    CASE(member_past_the_end),
    CASE(string_too_short),
    CASE(iterator_of_a_deque),
    CASE(array_of_new),
    CASE(array_with_destructors),
    CASE(cast_to_more),
    CASE(member_of_a_deleted_object),
    CASE(pointer_of_a_unique_one),
    CASE(pointer_of_a_shared_one),
    CASE(erased_from_a_list),
    CASE(erased_from_a_map),
    CASE(erased_from_a_table),
    CASE(in_a_lambda),
    CASE(in_a_thread),
    CASE(in_a_task),
    CASE(where_an_exception_is_caught),
    CASE(read_from_a_stream),
    CASE(in_a_template),
};

int main(int count, char **words)
{
    for (const auto &one : cases) {
        if (count == 1)
            std::puts(one.name);
        for (int word = 1; word < count; word++)
            if (std::strcmp(words[word], one.name) == 0)
                one.run(24);
    }
    if (count > 1)
        std::puts("done");
}
