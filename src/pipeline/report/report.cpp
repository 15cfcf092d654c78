#include "rluf/pipeline/report/report.hpp"
namespace rluf { void run_report(const StageContext&) {} }
