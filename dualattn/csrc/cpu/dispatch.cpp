// Chooses the instruction set at run time.
#include <atomic>
#include <cstring>

#include "kernels.h"

namespace dualattn::cpu {

namespace {

const InstructionSet* const kCompiled[] = {
#ifdef __x86_64__
    &avx512, &avx2,
#endif
    &generic,
};

const InstructionSet* widest() {
  for (const InstructionSet* set : kCompiled) {
    if (set->runs_here()) return set;
  }
  return &generic;
}

std::atomic<const InstructionSet*> chosen{nullptr};

}  // namespace

const InstructionSet& instruction_set() {
  const InstructionSet* set = chosen.load(std::memory_order_relaxed);
  if (set == nullptr) {
    set = widest();
    chosen.store(set, std::memory_order_relaxed);
  }
  return *set;
}

bool select_instruction_set(const char* name) {
  for (const InstructionSet* set : kCompiled) {
    if (std::strcmp(set->name, name) == 0 && set->runs_here()) {
      chosen.store(set, std::memory_order_relaxed);
      return true;
    }
  }
  return false;
}

}  // namespace dualattn::cpu
