#pragma once
// Any C++ value in an autograd node's saved data.
#include <torch/custom_class.h>

#include <utility>

namespace rluf {

template <class T>
struct Held : torch::CustomClassHolder {
  T value;
  explicit Held(T of) : value(std::move(of)) {}
};

template <class T>
c10::IValue hold(T value) {
  return c10::IValue::make_capsule(c10::make_intrusive<Held<T>>(std::move(value)));
}

template <class T>
const T& held(const c10::IValue& value) {
  return c10::static_intrusive_pointer_cast<Held<T>>(value.toCapsule())->value;
}

}  // namespace rluf
