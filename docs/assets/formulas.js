// Typesets what arithmatex marked; an error in one is shown in red (and tested for).
document.addEventListener("DOMContentLoaded", () => {
  for (const element of document.querySelectorAll(".arithmatex")) {
    renderMathInElement(element, { throwOnError: false });
  }
});
