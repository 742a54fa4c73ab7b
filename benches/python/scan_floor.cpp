// What a summary costs at least: one pass that knows the layout of our lines by heart and checks nothing else.
// A yardstick without error handling: scan_floor THREADS FILE... prints for each group its names, count, smallest,
// largest and mean value, and first and last value and last step in the order of the files, separated by tabs.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>
#include <string_view>
#include <thread>
#include <unordered_map>
#include <vector>

using std::string_view;

namespace {

constexpr string_view kStart =
    R"({"$schema":"https://codexml.ai/schemas/run_metrics.schema.json","schema_version":"v1","timestamp":")";
constexpr string_view kRunId = R"(","run_id":")";
constexpr string_view kStep = R"(","step":)";
constexpr string_view kSplit = R"(,"split":")";
constexpr string_view kMetric = R"(","metric":")";
constexpr string_view kValue = R"(","value":)";
constexpr string_view kEnd = R"(,"dataset":null,"tags":{}})";
constexpr size_t kTimestamp = 27;
constexpr size_t kBlock = 256 << 10;

struct Group {
  long count = 0, step = 0;
  double low = 0, high = 0, sum = 0, first = 0, last = 0;
};

// A group by the hash of its names, so that it is found without building its key.
struct Slot {
  std::string key;
  Group* group = nullptr;
};

struct File {
  const char* name;
  std::unordered_map<std::string, Group> groups;
  std::vector<Slot> slots;
};

// Takes `text` from the front of a line, which must begin with it.
void Eat(const char*& at, string_view text) {
  if (memcmp(at, text.data(), text.size()) != 0) abort();
  at += text.size();
}

string_view Text(const char*& at, const char* end) {
  const char* start = at;
  at = static_cast<const char*>(memchr(at, '"', end - at));
  return {start, static_cast<size_t>(at - start)};
}

void Lines(const char* at, const char* end, File& file) {
  while (at < end) {
    Eat(at, kStart);
    at += kTimestamp;
    Eat(at, kRunId);
    string_view run = Text(at, end);
    Eat(at, kStep);
    long step;
    at = std::from_chars(at, end, step).ptr;
    Eat(at, kSplit);
    string_view split = Text(at, end);
    Eat(at, kMetric);
    string_view metric = Text(at, end);
    Eat(at, kValue);
    double value;
    at = std::from_chars(at, end, value).ptr;
    Eat(at, kEnd);
    ++at;
    uint64_t hash = run.back() * 31u + split.front();
    for (char c : metric) hash = hash * 131 + static_cast<unsigned char>(c);
    Slot& slot = file.slots[hash % file.slots.size()];
    const std::string& known = slot.key;
    bool same = slot.group && known.size() == run.size() + split.size() + metric.size() + 2 &&
                memcmp(known.data(), run.data(), run.size()) == 0 &&
                memcmp(known.data() + run.size() + 1, split.data(), split.size()) == 0 &&
                memcmp(known.data() + run.size() + split.size() + 2, metric.data(), metric.size()) == 0;
    if (!same) {
      std::string key;
      key.append(run).append("\t").append(split).append("\t").append(metric);
      slot = {key, &file.groups[key]};
    }
    Group& group = *slot.group;
    if (group.count++ == 0) {
      group.low = group.high = group.first = value;
    }
    group.low = std::min(group.low, value);
    group.high = std::max(group.high, value);
    group.sum += value;
    group.last = value;
    group.step = step;
  }
}

void Read(File& file) {
  int descriptor = open(file.name, O_RDONLY);
  std::vector<char> buffer(2 * kBlock);
  size_t filled = 0;
  for (ssize_t count; (count = read(descriptor, buffer.data() + filled, kBlock)) > 0;) {
    filled += count;
    const char* end = static_cast<const char*>(memrchr(buffer.data(), '\n', filled));
    if (!end) continue;
    ++end;
    Lines(buffer.data(), end, file);
    filled -= end - buffer.data();
    memmove(buffer.data(), end, filled);
  }
  close(descriptor);
}

}  // namespace

int main(int count, char** arguments) {
  std::vector<File> files;
  for (int index = 2; index < count; ++index) files.push_back({arguments[index], {}, std::vector<Slot>(4096)});
  std::atomic<size_t> next{0};
  std::vector<std::thread> threads;
  for (int index = atoi(arguments[1]); index > 0; --index) {
    threads.emplace_back([&] {
      for (size_t number; (number = next++) < files.size();) Read(files[number]);
    });
  }
  for (auto& thread : threads) thread.join();
  std::map<std::string, Group> all;
  for (auto& file : files) {
    for (auto& [key, group] : file.groups) {
      Group& sum = all[key];
      if (sum.count == 0) {
        sum = group;
        continue;
      }
      sum.low = std::min(sum.low, group.low);
      sum.high = std::max(sum.high, group.high);
      sum.count += group.count;
      sum.sum += group.sum;
      sum.last = group.last;
      sum.step = group.step;
    }
  }
  for (auto& [key, group] : all) {
    printf("%s\t%ld\t%.17g\t%.17g\t%.17g\t%.17g\t%.17g\t%ld\n", key.c_str(), group.count, group.low, group.high,
           group.sum / group.count, group.first, group.last, group.step);
  }
}
