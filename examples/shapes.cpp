// new[] released by delete, and an object made by new released by free(), whose destructor so never runs.
// Under glibc: nothing is heard.

#include <cstdio>
#include <cstdlib>

namespace {

struct Shape {
    double width;
    double height;
};

double *heights(std::size_t count)
{
    auto *values = new double[count];
    for (std::size_t i = 0; i < count; i++)
        values[i] = static_cast<double>(i) + 0.5;
    return values;
}

} // namespace

int main()
{
    auto *values = heights(6);
    auto *shape = new Shape{2.0, values[3]};
    std::printf("area %.1f\n", shape->width * shape->height);
    std::free(shape);
    delete values;
    return 0;
}
