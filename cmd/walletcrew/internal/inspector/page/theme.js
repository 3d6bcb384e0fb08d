// Before the first paint: the theme that was chosen. Without one, the system's holds.
try {
  const theme = localStorage.getItem("walletcrew-theme");
  if (theme === "dark" || theme === "light") document.documentElement.dataset.theme = theme;
} catch { /* no storage */ }
