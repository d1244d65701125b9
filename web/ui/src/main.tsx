import './style.css';
import { render } from 'preact';
render(<p>Telltale</p>, document.getElementById('app')!);
